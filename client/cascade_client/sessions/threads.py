"""The blocking session: real-time requests over one standing stream."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from queue import Empty, SimpleQueue
from typing import Any

import grpc
from cascade_proto import synthesis_pb2 as pb

from cascade_client.sessions.messages import (
    LATE,
    MESSAGE_REQUESTS,
    Asked,
    StreamedError,
    broken,
    fail,
    message_of,
    settle,
)
from cascade_client.tracing import trace_headers


class StandingStream:
    """Requests of any number of threads over one stream, which is opened when it is needed.

    Args:
        method: `SynthesisStub.SynthesizeStream`, on a client's own lines.
        clock: monotonic seconds.
    """

    def __init__(self, method: Callable[..., Any], clock: Callable[[], float]) -> None:
        self._method, self._clock = method, clock
        self._lock = threading.Lock()
        self._stream: _Stream | None = None
        self._closed = False

    def __call__(
        self, request: pb.SynthesizeRequest, timeout: float | None = None
    ) -> pb.SynthesizeResponse:
        """Send a request and wait for its answer, as the unary method does.

        Raises:
            grpc.RpcError: the failure of the request or of the stream.
        """
        answer: Future[pb.SynthesizeResponse] = Future()
        expiry = float("inf") if timeout is None else self._clock() + timeout
        with self._lock:
            if self._closed:
                raise StreamedError(grpc.StatusCode.CANCELLED, "the session is closed")
            stream, left = self._stream, None
            if stream is None or not stream.alive or stream.is_retired:
                left, stream = stream, _Stream(self._method, self._clock)
                self._stream = stream
        if left is not None:
            left.retire()
        heard = stream.heard
        stream.ask(request, expiry, answer)
        try:
            with stream.waiting(timeout):
                return answer.result(timeout)
        except LateError:
            # An unsent request will not be sent; a late answer is dropped.
            answer.cancel()
            stream.late(timeout, heard)
            raise StreamedError(grpc.StatusCode.DEADLINE_EXCEEDED, LATE) from None
        finally:
            stream.retire()

    def close(self) -> None:
        """End the stream, and cancel pending requests."""
        with self._lock:
            self._closed, stream, self._stream = True, self._stream, None
        if stream is not None:
            stream.end()


class _Stream:
    """One stream, from its first request until it breaks or is ended."""

    def __init__(self, method: Callable[..., Any], clock: Callable[[], float]) -> None:
        self.alive = True
        self._clock = clock
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._open: dict[int, Asked] = {}
        self._queue: SimpleQueue[Asked | None] = SimpleQueue()
        self._call = method(self._messages(), metadata=trace_headers())
        self.waiting, self.late = self._call.waiting, self._call.late
        threading.Thread(target=self._read, name="cascade-session", daemon=True).start()

    @property
    def heard(self) -> int:
        """Number of signs of life from the server."""
        heard: int = self._call.heard
        return heard

    @property
    def is_retired(self) -> bool:
        """Whether new requests must use another stream."""
        is_retired: bool = self._call.is_retired
        return is_retired

    def ask(self, request: pb.SynthesizeRequest, expiry: float, answer: Future[Any]) -> None:
        asked = Asked(next(self._ids), request, expiry, answer)
        with self._lock:
            if self.alive:
                self._open[asked.id] = asked
                self._queue.put(asked)
                return
        answer.set_exception(broken(None))

    def retire(self) -> None:
        """End the stream if it is retired and no caller waits for an answer over it."""
        if self.is_retired and all(asked.answer.done() for asked in list(self._open.values())):
            self.end()

    def end(self) -> None:
        self._call.cancel()
        self._queue.put(None)  # there is nothing more to send

    def _messages(self) -> Iterator[pb.SynthesizeStreamRequest]:
        """Yield messages to gRPC's sending thread: the requests that gathered during one send form
        the next message.
        """
        while (first := self._queue.get()) is not None:
            some = [first]
            with contextlib.suppress(Empty):
                while len(some) < MESSAGE_REQUESTS:
                    more = self._queue.get_nowait()
                    if more is None:
                        return
                    some.append(more)
            message = message_of(some, self._clock)
            if message.requests:
                yield message

    def _read(self) -> None:
        why = None
        try:
            for message in self._call:
                for answer in message.answers:
                    settle(self._open.pop(answer.id, None), answer)
        except grpc.RpcError as exc:
            why = exc
        finally:
            with self._lock:
                self.alive = False
            self._queue.put(None)
            for asked in self._open.values():
                fail(asked, broken(why))
            self._open.clear()
