"""The asyncio session: real-time requests over one standing stream."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
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


class AsyncStandingStream:
    """Requests of any number of tasks over one stream, which is opened when it is needed.

    Args:
        method: `SynthesisStub.SynthesizeStream`, on a client's own lines.
        clock: monotonic seconds.
    """

    def __init__(self, method: Callable[..., Any], clock: Callable[[], float]) -> None:
        self._method, self._clock = method, clock
        self._stream: _Stream | None = None
        self._closed = False

    async def __call__(
        self, request: pb.SynthesizeRequest, timeout: float | None = None
    ) -> pb.SynthesizeResponse:
        """Send a request and wait for its answer, as the unary method does.

        Raises:
            grpc.RpcError: the failure of the request or of the stream.
        """
        if self._closed:
            raise StreamedError(grpc.StatusCode.CANCELLED, "the session is closed")
        stream = self._stream
        if stream is None or not stream.alive or stream.is_retired:
            left, stream = stream, _Stream(self._method, self._clock)
            self._stream = stream
            if left is not None:
                left.retire()
        expiry = float("inf") if timeout is None else self._clock() + timeout
        heard = stream.heard
        answer = stream.ask(request, expiry)
        try:
            with stream.waiting(timeout):
                async with asyncio.timeout(timeout):
                    return await answer
        except TimeoutError:
            assert timeout is not None
            stream.late(timeout, heard)
            raise StreamedError(grpc.StatusCode.DEADLINE_EXCEEDED, LATE) from None
        finally:
            stream.retire()

    async def close(self) -> None:
        """End the stream, and cancel pending requests."""
        self._closed, stream, self._stream = True, self._stream, None
        if stream is not None:
            await stream.end()


class _Stream:
    """One stream, from its first request until it breaks or is ended."""

    def __init__(self, method: Callable[..., Any], clock: Callable[[], float]) -> None:
        self.alive = True
        self._clock = clock
        self._ids = itertools.count(1)
        self._open: dict[int, Asked] = {}
        self._unsent: list[Asked] = []
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._call = method(metadata=trace_headers())
        self.waiting, self.late = self._call.waiting, self._call.late
        self._reader = self._loop.create_task(self._read())
        self._writer = self._loop.create_task(self._write())

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

    def ask(
        self, request: pb.SynthesizeRequest, expiry: float
    ) -> asyncio.Future[pb.SynthesizeResponse]:
        answer: asyncio.Future[pb.SynthesizeResponse] = self._loop.create_future()
        asked = Asked(next(self._ids), request, expiry, answer)
        self._open[asked.id] = asked
        self._unsent.append(asked)
        self._wake.set()
        return answer

    def retire(self) -> None:
        """End the stream if it is retired and no caller waits for an answer over it."""
        if self.is_retired and all(asked.answer.done() for asked in self._open.values()):
            self._call.cancel()

    async def end(self) -> None:
        self._call.cancel()
        await asyncio.gather(self._reader, self._writer, return_exceptions=True)

    async def _write(self) -> None:
        """Send the requests that gathered while a message was being sent as the next message."""
        while True:
            await self._wake.wait()
            some = self._unsent[:MESSAGE_REQUESTS]
            del self._unsent[:MESSAGE_REQUESTS]
            if not self._unsent:
                self._wake.clear()
            message = message_of(some, self._clock)
            if message.requests:
                await self._call.write(message)

    async def _read(self) -> None:
        why = None
        try:
            async for message in self._call:
                for answer in message.answers:
                    settle(self._open.pop(answer.id, None), answer)
        except grpc.RpcError as exc:
            why = exc
        except asyncio.CancelledError:
            why = StreamedError(grpc.StatusCode.CANCELLED, "the session is closed")
        finally:
            self.alive = False
            self._writer.cancel()
            for asked in self._open.values():
                fail(asked, broken(why))
            self._open.clear()
