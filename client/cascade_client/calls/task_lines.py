"""The lines of the asyncio client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc

from cascade_client.calls import health
from cascade_client.calls.lines import Line, Lines, Metadata, Method
from cascade_client.calls.liveness import Vigil, Waited, has_passed
from cascade_client.errors import CallError

_END = object()
CANCELLED = "the call was cancelled"


class TaskLines(Lines):
    """Lines for stubs of the asyncio client; has the parts of `grpc.aio.Channel` that stubs use.

    The first call creates a channel in its event loop.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.watch = Watch(self)
        self._closing: set[asyncio.Task[None]] = set()

    def unary_unary(self, path: str, **codec: Any) -> Unary:
        """Return a method with one request and one answer, to be awaited."""
        return Unary(self, "unary_unary", path, codec)

    def unary_stream(self, path: str, **codec: Any) -> Streaming:
        """Return a method that answers with a stream."""
        return Streaming(self, "unary_stream", path, codec)

    def stream_stream(self, path: str, **codec: Any) -> Streaming:
        """Return a method with two streams, as a session uses."""
        return Streaming(self, "stream_stream", path, codec)

    async def close(self) -> None:
        """Close the connection and cancel the calls in flight. Closing twice does no harm."""
        self.watch.close()
        for line in self._shut():
            await line.channel.close()
        await asyncio.gather(*self._closing)

    def left(self, line: Line) -> None:
        """Record the end of a call over a line."""
        if self._left(line):
            closing = asyncio.get_running_loop().create_task(line.channel.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def answers(self, line: Line) -> bool:
        """Return whether the server behind a line answers a health check, whatever the status."""
        try:
            check = self.method(line, "unary_unary", health.CHECK, {})
            await check(health.WHOLE_SERVER, timeout=self.bounds.answer)
        except grpc.RpcError as exc:
            if has_passed(exc):
                return False
        except (RuntimeError, grpc.aio.UsageError):
            return True  # the client was closed meanwhile, and with it all that waits
        line.sign()
        return True


class Watch:
    """Watches over calls in a task of its own, while there are any.

    Args:
        lines: of the client.
    """

    def __init__(self, lines: TaskLines) -> None:
        self._lines = lines
        self._vigil = Vigil(lambda: lines.bounds)
        self._task: asyncio.Task[None] | None = None

    def add(self, call: Waited) -> None:
        """Watch over a call until it is removed; the first call starts the task."""
        self._vigil.add(call)
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            self._task = loop.create_task(self._run(), name="cascade-watch")

    def remove(self, call: Waited) -> None:
        """Stop watching over a call."""
        self._vigil.remove(call)
        if not self._vigil:
            self.close()

    def close(self) -> None:
        """Stop watching."""
        task, self._task = self._task, None
        if task is not None and not task.get_loop().is_closed():
            task.cancel()

    async def look(self) -> None:
        """Look once, and check the lines that are silent."""
        overdue, silent = self._vigil.look()
        for call in overdue:
            call.fails(self._vigil.overdue())
        for line in silent:
            if not await self._lines.answers(line):
                self._lines.replace(line)
                for call in self._vigil.over(line):
                    call.fails(self._vigil.silence())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._lines.bounds.rest)
            await self.look()


class Unary(Method):
    """A method that answers once."""

    async def __call__(
        self, asked: Any, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> Any:
        """Call the method, with the interface of grpcio's own.

        Raises:
            RuntimeError: the client was closed.
            grpc.RpcError: the call's own.
        """
        lines: TaskLines = self._lines
        line = lines.take()
        heard = line.heard
        try:
            call = self.on(line)(asked, timeout=timeout, metadata=lines.metadata(metadata))
            if lines.bounds.is_long(timeout):
                answer = await self._answer(line, call)
            else:
                answer = await call
            line.sign()
            return answer
        except grpc.RpcError as exc:
            lines.failed(line, exc, timeout, heard)
            raise
        except grpc.aio.UsageError:
            # grpcio raises this if another task closes the client at this very moment.
            if lines.closed:
                raise lines.refusal() from None
            raise
        finally:
            lines.left(line)

    async def _answer(self, line: Line, call: Any) -> Any:
        why = ""

        def give_up(said: str) -> None:
            nonlocal why
            why = said
            call.cancel()

        waited = Waited(line, give_up)
        if not hasattr(call, "cancel"):
            return await call  # a coroutine of a channel that the caller gave
        waited.begins()
        self._lines.watch.add(waited)
        try:
            return await call
        except asyncio.CancelledError:
            if _is_own(why):
                raise CallError(grpc.StatusCode.UNAVAILABLE, why) from None
            raise
        finally:
            self._lines.watch.remove(waited)


class Streaming(Method):
    """A method that answers with a stream."""

    def __call__(
        self, *asked: Any, timeout: float | None = None, metadata: Metadata | None = None
    ) -> Stream:
        """Call the method, with the interface of grpcio's own.

        Raises:
            RuntimeError: the client was closed.
        """
        lines: TaskLines = self._lines
        line = lines.take()
        try:
            call = self.on(line)(*asked, timeout=timeout, metadata=lines.metadata(metadata))
        except BaseException as exc:  # also KeyboardInterrupt: the line would never be closed
            lines.left(line)
            if isinstance(exc, grpc.aio.UsageError) and lines.closed:
                raise lines.refusal() from None
            raise
        # In a session, callers wait for the answers to their requests, not for the stream.
        return Stream(lines, line, call, timeout, self._kind == "unary_stream")


class Stream:
    """A stream of messages over a line; for a session, also of messages to send.

    Args:
        lines, line: of the stream.
        call: grpcio's own.
        timeout: in seconds.
        is_watched: whether it is watched over while a caller waits for the next message.
    """

    def __init__(
        self, lines: TaskLines, line: Line, call: Any, timeout: float | None, is_watched: bool
    ) -> None:
        self._lines, self._line, self._call, self._timeout = lines, line, call, timeout
        self._heard, self._said = line.heard, ""
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

    async def __aiter__(self) -> AsyncIterator[Any]:
        call, line, waited = self._call, self._line, self._waited
        if call is None:
            raise CallError(grpc.StatusCode.CANCELLED, CANCELLED)
        messages = aiter(call)
        try:
            while True:
                waited.begins()
                try:
                    message = await anext(messages, _END)
                finally:
                    waited.ends()
                line.sign()
                if message is _END:
                    return
                yield message
        except asyncio.CancelledError:
            if _is_own(self._said):
                raise CallError(grpc.StatusCode.UNAVAILABLE, self._said) from None
            raise
        except grpc.RpcError as exc:
            if self._said:
                raise CallError(grpc.StatusCode.UNAVAILABLE, self._said) from exc
            self._lines.failed(line, exc, self._timeout, self._heard)
            raise
        finally:
            self._leave()

    async def write(self, message: Any) -> None:
        """Send a message of a session; does nothing if the stream has ended."""
        if self._call is not None:
            await self._call.write(message)

    def cancel(self) -> None:
        """End the stream, so that the server may stop."""
        if self._call is not None:
            self._call.cancel()
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
        self._said = said
        if self._call is not None:
            self._call.cancel()

    def _leave(self) -> None:
        """Record its end once, for the reader or for the canceller, whichever is first."""
        self._lines.watch.remove(self._waited)
        # Drop the call: grpcio keeps a connection while anyone, such as a cancelled caller, holds
        # one of its calls.
        call, self._call = self._call, None
        if call is not None:
            self._lines.left(self._line)


def _is_own(why: str) -> bool:
    """Return whether a call was cancelled because it was given up, and not with its task."""
    task = asyncio.current_task()
    return bool(why) and (task is None or not task.cancelling())
