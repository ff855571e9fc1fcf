"""A call whose handler runs in a task of its own, and the context that the handler is given."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import grpc

from cascade_server.transport.call import Call
from cascade_server.transport.http2.headers import Metadata
from cascade_server.transport.inbox import Refused
from cascade_server.transport.outcomes import Outcome, Status
from cascade_server.transport.parts import Parts

log = logging.getLogger("cascade.server")

# Messages that a handler reads before it lets other tasks run.
MESSAGES_A_TURN = 16


class Rpc(Call):
    """A call, which is also the `context` of its handler.

    The methods for handlers are those of `grpc.aio.ServicerContext`. `read_ready` and `write_now`
    are this transport's own, for handlers that do much in one turn of the event loop.
    """

    __slots__ = ()

    def start(self, work: Coroutine[Any, Any, Outcome] | None = None) -> None:
        """Run the handler in a task; or `work`, which returns how the call ends.

        Work starts even if the caller has hung up: it may have to count the hang-up, and checks by
        itself whether the caller is still there.
        """
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(work))
        self._set_timer()

    async def _run(self, work: Coroutine[Any, Any, Outcome] | None) -> None:
        self._is_running = True
        if self._is_cancelled:
            if work is None:
                self._cut_short()
                return
            assert self._task is not None
            self._task.cancel()
        try:
            if work is None:
                await self._handle()
                self.finish(Status(self._code, self._details, self._trailing))
            else:
                self.ends(await work)
        except grpc.aio.AbortError:
            self.finish(Status(self._code, self._details, self._trailing))
        except asyncio.CancelledError:
            self._cut_short()
        except Refused as exc:
            self.finish(Status(exc.code, str(exc)))
        except Exception as exc:  # nobody awaits the task: the call would never end
            log.exception("a handler of %s failed", self.head.path)
            kind = type(exc).__name__
            self.finish(Status(grpc.StatusCode.UNKNOWN, f"the server failed with a {kind}"))

    def _cut_short(self) -> None:
        code, why = grpc.StatusCode.CANCELLED, "cancelled"
        if self._is_late:
            code, why = grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline has passed"
        self.finish(Status(code, why))

    async def _handle(self) -> None:
        """Call the handler by its kind: with one request or an iterator of them."""
        handler = self.handler
        if handler.request_streaming:
            request: Any = self._messages()
            method = handler.stream_stream or handler.stream_unary
        else:
            request = self._read_as(self.message)
            method = handler.unary_stream or handler.unary_unary
        response = method(request, self)
        if hasattr(response, "__aiter__"):
            async for each in response:
                await self.write(each)
            return
        response = await response
        if not handler.response_streaming:
            await self.write(response)

    async def _messages(self) -> AsyncIterator[Any]:
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message

    def _read_as(self, message: bytes) -> Any:
        """Deserialize a message.

        Raises:
            Refused: it is malformed.
        """
        deserializer = self.handler.request_deserializer
        if deserializer is None:
            return message
        with contextlib.suppress(Exception):  # of a deserializer, which is its service's
            return deserializer(message)
        # Raised outside the `except`: that error's traceback would keep the message in memory.
        why = f"a message that {self.head.path} cannot read"
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, why)

    # The context of the handler, as of `grpc.aio.ServicerContext`.

    def time_remaining(self) -> float | None:
        """Return the seconds to the deadline, 0 if it has passed; None: there is none."""
        if self.deadline == math.inf:
            return None
        return max(0.0, self.deadline - self._wire.clock())

    def invocation_metadata(self) -> Metadata:
        """Return the metadata that the caller sent."""
        return self.head.metadata()

    def peer(self) -> str:
        """Return the caller's address, such as "ipv4:10.0.0.7:52000"."""
        return self._wire.peer.address

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        """Set metadata to be sent after the answer."""
        self._trailing = tuple(metadata)

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the status that the call ends with when its handler returns; OK by default."""
        self._code = code

    def set_details(self, details: str) -> None:
        """Set the message of the status."""
        self._details = details

    def cancelled(self) -> bool:
        """Return whether the call has ended, for example because the caller has given up."""
        return self.ended

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        """Send metadata before the answer."""
        self._begin(metadata)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> None:
        """End the call with a status.

        Raises:
            AbortError: always; the handler must let it through.
        """
        self._code, self._details = code, details
        if trailing_metadata:
            self._trailing = tuple(trailing_metadata)
        raise grpc.aio.AbortError

    async def read(self) -> Any:
        """Wait for the next message; returns `grpc.aio.EOF` after the last."""
        inbox = self.inbox
        while not inbox.ready or self.ended:
            if self.ended:
                raise asyncio.CancelledError
            if inbox.complete:
                return grpc.aio.EOF
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
            self._reader = None
        self._taken += 1
        if inbox.compressed:
            await self._wire.inflation.turn()
        elif self._taken % MESSAGES_A_TURN == 0:
            await asyncio.sleep(0)
        (message,) = self._take(1)
        return message

    def read_ready(self) -> list[Any]:
        """Take messages that have arrived already, up to `MESSAGES_A_TURN`, without waiting."""
        if self.ended or (self.inbox.ready and self.inbox.compressed):
            return []
        return self._take(MESSAGES_A_TURN)

    def write_now(self, response: Any) -> bool:
        """Send a message if the peer has room for it; returns False if it was not sent."""
        if self.ended or self.out.parts:
            return False
        try:
            self._send(response)
        except Refused as exc:
            self.cancel()
            self.finish(Status(exc.code, str(exc)))
        return True

    async def write(self, response: Any) -> None:
        """Send a message, and wait until the peer has room for the next."""
        if self.ended:
            raise asyncio.CancelledError
        try:
            self._send(response)
        except Refused as exc:
            self._fail(exc)
        if self.out.parts:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def _send(self, response: Any) -> None:
        if response.__class__ is Parts:
            head = b"\0" + len(response).to_bytes(4, "big") + response.head
            self._begin()
            self._wire.send_parts(self, (memoryview(head), *response.rest))
            return
        serializer: Callable[[Any], bytes] | None = self.handler.response_serializer
        body: bytes = response if serializer is None else serializer(response)
        self._begin()
        self._wire.send(self, b"\0" + len(body).to_bytes(4, "big") + body)

    def _take(self, most: int) -> list[Any]:
        """Take up to `most` messages; only one if it has to be inflated."""
        inbox = self.inbox
        taken: list[Any] = []
        why: Refused | None = None
        try:
            while inbox.ready and len(taken) < most:
                if inbox.compressed:
                    if taken:
                        break
                    most = 1
                taken.append(self._read_as(self._next()))
            self._wire.grant(self)
        except Refused as exc:
            why = exc.with_traceback(None)  # the traceback would keep the taken messages in memory
        if why is not None:
            self._fail(why)
        return taken

    def _fail(self, why: Refused) -> None:
        """End the call from within its handler."""
        self.cancel()
        self.finish(Status(why.code, str(why)))
        raise asyncio.CancelledError
