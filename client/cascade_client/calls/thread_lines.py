"""The lines of the blocking client."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import grpc

from cascade_client.calls import health
from cascade_client.calls.lines import Line, Lines, Metadata, Method
from cascade_client.calls.liveness import Vigil, Waited, has_passed
from cascade_client.errors import CallError

_END = object()
CANCELLED = "the call was cancelled"


class ThreadLines(Lines):
    """Lines for stubs of the blocking client; has the parts of `grpc.Channel` that stubs use."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.watch = Watch(self)

    def unary_unary(self, path: str, **codec: Any) -> Unary:
        """Return a method with one request and one answer."""
        return Unary(self, "unary_unary", path, codec)

    def unary_stream(self, path: str, **codec: Any) -> Streaming:
        """Return a method that answers with a stream."""
        return Streaming(self, "unary_stream", path, codec)

    def stream_stream(self, path: str, **codec: Any) -> Streaming:
        """Return a method with two streams, as a session uses."""
        return Streaming(self, "stream_stream", path, codec)

    def close(self) -> None:
        """Close the connection and cancel the calls in flight. Closing twice does no harm."""
        self.watch.close()
        for line in self._shut():
            line.channel.close()

    def left(self, line: Line) -> None:
        """Record the end of a call over a line."""
        if self._left(line):
            line.channel.close()

    def answers(self, line: Line) -> bool:
        """Return whether the server behind a line answers a health check, whatever the status."""
        try:
            check = self.method(line, "unary_unary", health.CHECK, {})
            check(health.WHOLE_SERVER, timeout=self.bounds.answer)
        except grpc.RpcError as exc:
            if has_passed(exc):
                return False
        except (RuntimeError, ValueError):
            return True  # the client was closed meanwhile, and with it all that waits
        line.sign()
        return True


class Watch:
    """Watches over calls in a thread of its own, while there are any.

    Args:
        lines: of the client.
    """

    def __init__(self, lines: ThreadLines) -> None:
        self._lines = lines
        self._vigil = Vigil(lambda: lines.bounds)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, call: Waited) -> None:
        """Watch over a call until it is removed; the first call starts the thread."""
        self._vigil.add(call)
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="cascade-watch", daemon=True)
                self._thread.start()

    def remove(self, call: Waited) -> None:
        """Stop watching over a call."""
        self._vigil.remove(call)

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()

    def look(self) -> None:
        """Look once, and check the lines that are silent."""
        overdue, silent = self._vigil.look()
        for call in overdue:
            call.fails(self._vigil.overdue())
        for line in silent:
            if not self._lines.answers(line):
                self._lines.replace(line)
                for call in self._vigil.over(line):
                    call.fails(self._vigil.silence())

    def _run(self) -> None:
        while not self._closed.wait(self._lines.bounds.rest):
            with self._lock:
                if not self._vigil:
                    self._thread = None
                    return
            self.look()


class Unary(Method):
    """A method that answers once."""

    def __call__(
        self, asked: Any, timeout: float | None = None, metadata: Metadata | None = None
    ) -> Any:
        """Call the method, with the interface of grpcio's own.

        Raises:
            RuntimeError: the client was closed.
            grpc.RpcError: the call's own.
        """
        lines: ThreadLines = self._lines
        line = lines.take()
        heard = line.heard
        try:
            answer = self._answer(line, asked, timeout, lines.metadata(metadata))
            line.sign()
            return answer
        except grpc.RpcError as exc:
            lines.failed(line, exc, timeout, heard)
            raise
        except ValueError:
            # grpcio raises this if another thread closes the client at this very moment.
            if lines.closed:
                raise lines.refusal() from None
            raise
        finally:
            lines.left(line)

    def _answer(self, line: Line, asked: Any, timeout: float | None, shown: Any) -> Any:
        lines: ThreadLines = self._lines
        method = self.on(line)
        begin = getattr(method, "future", None) if lines.bounds.is_long(timeout) else None
        if begin is None:
            return method(asked, timeout=timeout, metadata=shown)
        call, why = begin(asked, timeout=timeout, metadata=shown), ""

        def give_up(said: str) -> None:
            nonlocal why
            why = said
            call.cancel()

        waited = Waited(line, give_up)
        waited.begins()
        lines.watch.add(waited)
        try:
            return call.result()
        except grpc.FutureCancelledError:
            if not why:
                raise CallError(grpc.StatusCode.CANCELLED, CANCELLED) from None
            raise CallError(grpc.StatusCode.UNAVAILABLE, why) from None
        finally:
            lines.watch.remove(waited)
            call.cancel()  # such as after KeyboardInterrupt; else it has ended


class Streaming(Method):
    """A method that answers with a stream."""

    def __call__(
        self, asked: Any, timeout: float | None = None, metadata: Metadata | None = None
    ) -> Stream:
        """Call the method, with the interface of grpcio's own.

        Raises:
            RuntimeError: the client was closed.
        """
        lines: ThreadLines = self._lines
        line = lines.take()
        try:
            call = self.on(line)(asked, timeout=timeout, metadata=lines.metadata(metadata))
        except BaseException as exc:  # also KeyboardInterrupt: the line would never be closed
            lines.left(line)
            if isinstance(exc, ValueError) and lines.closed:
                raise lines.refusal() from None
            raise
        # In a session, callers wait for the answers to their requests, not for the stream.
        return Stream(lines, line, call, timeout, self._kind == "unary_stream")


class Stream:
    """A stream of messages over a line.

    Args:
        lines, line: of the stream.
        call: grpcio's own.
        timeout: in seconds.
        is_watched: whether it is watched over while a caller waits for the next message.
    """

    def __init__(
        self, lines: ThreadLines, line: Line, call: Any, timeout: float | None, is_watched: bool
    ) -> None:
        self._lines, self._line, self._call, self._timeout = lines, line, call, timeout
        self._heard, self._said = line.heard, ""
        self._leaving = threading.RLock()
        self._waited = Waited(line, self._give_up)
        if is_watched and lines.bounds.is_long(timeout):
            lines.watch.add(self._waited)

    @property
    def heard(self) -> int:
        """Number of signs of life from the server."""
        return self._line.heard

    @property
    def is_retired(self) -> bool:
        """Whether its line has been replaced: new requests must use another."""
        return self._line.retired

    def __iter__(self) -> Iterator[Any]:
        call, line, waited = self._call, self._line, self._waited
        if call is None:
            raise CallError(grpc.StatusCode.CANCELLED, CANCELLED)
        messages = iter(call)
        try:
            while True:
                waited.begins()
                try:
                    message = next(messages, _END)
                finally:
                    waited.ends()
                line.sign()
                if message is _END:
                    return
                yield message
        except grpc.RpcError as exc:
            if self._said:
                raise CallError(grpc.StatusCode.UNAVAILABLE, self._said) from exc
            self._lines.failed(line, exc, self._timeout, self._heard)
            raise
        finally:
            self._leave()

    def cancel(self) -> None:
        """End the stream, so that the server may stop."""
        call = self._call
        if call is not None:
            call.cancel()
        self._leave()

    def late(self, timeout: float, heard: int) -> None:
        """Record that a request over it was not answered in time; see `Lines.late`."""
        self._lines.late(self._line, timeout, heard)

    @contextlib.contextmanager
    def waiting(self, timeout: float | None) -> Iterator[None]:
        """Watch over the stream while a caller waits for an answer over it."""
        if not self._lines.bounds.is_long(timeout):
            yield
            return
        waited = Waited(self._line, self._give_up)
        waited.begins()
        self._lines.watch.add(waited)
        try:
            yield
        finally:
            self._lines.watch.remove(waited)

    def _give_up(self, said: str) -> None:
        call, self._said = self._call, said
        if call is not None:
            call.cancel()

    def _leave(self) -> None:
        """Record its end once, for the reader or for the canceller, whichever is first."""
        self._lines.watch.remove(self._waited)
        # Drop the call: grpcio keeps a connection while anyone holds one of its calls.
        with self._leaving:
            call, self._call = self._call, None
        if call is not None:
            self._lines.left(self._line)
