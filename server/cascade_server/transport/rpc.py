"""One call: its messages in and out, and the context that its handler is given."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import grpc

from cascade_server.transport import headers
from cascade_server.transport.headers import Head, Metadata
from cascade_server.transport.inbox import Inbox, Refused
from cascade_server.transport.outbox import Outgoing

log = logging.getLogger("cascade.server")


@dataclass(frozen=True)
class Status:
    """How a call ends.

    Attributes:
        code: gRPC's.
        message: for the caller.
        metadata: sent after the answer.
    """

    code: grpc.StatusCode
    message: str = ""
    metadata: Metadata = ()


OK = Status(grpc.StatusCode.OK)


def trailers(status: Status) -> bytes:
    """The block after an answer's messages."""
    metadata = tuple((name, value) for name, value in status.metadata)
    return headers.trailers(status.code.value[0], status.message, metadata)


def last_block(status: Status) -> bytes:
    """The block of an answer that has no messages."""
    return headers.INITIAL + trailers(status)


# Of a unary call: its message, or how it failed.
Outcome: TypeAlias = bytes | Status


class Arrival(Protocol):
    """A unary call whose message is there, before anything was done about it.

    Attributes:
        message: as it was sent.
        arrived, deadline: monotonic seconds; infinite where there is no deadline.
        gone: whether the caller has given up.
    """

    message: bytes
    arrived: float
    deadline: float

    @property
    def gone(self) -> bool:
        """Whether an answer would go nowhere."""

    def time_remaining(self) -> float | None:
        """Seconds to the deadline, 0 if it has passed; None: there is none."""


class Wire(Protocol):
    """What a call asks of its connection."""

    peer: str

    def begin(self, rpc: Rpc, block: bytes) -> None:
        """Send the headers of an answer."""

    def send(self, rpc: Rpc, body: bytes) -> None:
        """Send part of an answer, as the peer has room for it."""

    def end(self, rpc: Rpc, block: bytes) -> None:
        """Send an answer's last headers."""

    def grant(self, rpc: Rpc, by: int) -> None:
        """Let the peer send more of a call's messages."""


class Rpc:
    """A call, which is also the `context` of `grpc.aio` to its handler.

    Attributes:
        message: a unary call's; once it is there.
        inbox, out: what is received and sent.
        ended: whether nothing more is to be sent.
    """

    __slots__ = (
        "_began",
        "_code",
        "_details",
        "_drained",
        "_is_cancelled",
        "_is_late",
        "_is_running",
        "_last",
        "_reader",
        "_task",
        "_timer",
        "_trailing",
        "_wire",
        "arrived",
        "deadline",
        "ended",
        "handler",
        "head",
        "inbox",
        "message",
        "out",
        "stream",
    )

    def __init__(
        self, wire: Wire, stream: int, head: Head, handler: Any, window: int, most_bytes: int
    ) -> None:
        self._wire, self.stream, self.head, self.handler = wire, stream, head, handler
        self.arrived = time.monotonic()
        self.deadline = math.inf if head.timeout is None else self.arrived + head.timeout
        self.inbox = Inbox(head.encoding, most_bytes)
        self.out = Outgoing(stream, window, self._sent)
        self.message = b""
        # The block that ends the answer, while parts of it wait.
        self._last: bytes | None = None
        self.ended = self._began = False
        self._is_running = self._is_cancelled = self._is_late = False
        self._reader: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._trailing: Metadata = ()
        self._code, self._details = grpc.StatusCode.OK, ""

    # What the connection says.

    def received(self, data: bytes, last: bool) -> None:
        """Take a part of the messages.

        Raises:
            Refused: as `Inbox.put`; or a unary call has not exactly one message.
        """
        self.inbox.put(data, last)
        if last and not self.handler.request_streaming:
            self.message = self.inbox.only()
        elif (more := self.inbox.to_grant()) > 0:
            self._wire.grant(self, more)
        if self._reader is not None and not self._reader.done() and (self.inbox.messages or last):
            self._reader.set_result(None)

    def lost(self) -> None:
        """The caller has hung up."""
        self.ended = True
        self.cancel()
        self._stop_timer()

    def _sent(self) -> None:
        """All parts of the answer are on their way."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._last is not None:
            self._wire.end(self, self._last)

    # What the server does.

    @property
    def gone(self) -> bool:
        """Whether an answer would go nowhere."""
        return self.ended

    @property
    def task(self) -> asyncio.Task[None] | None:
        """Runs the handler; None: it was not started."""
        return self._task

    def start(self, work: Coroutine[Any, Any, Outcome] | None = None) -> None:
        """Run the handler in a task of its own; or `work`, which says how the call ends.

        Work is begun even if the caller has hung up meanwhile, which it is to ask for: it may have
        accounts to close.
        """
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(work))
        if self.deadline < math.inf:
            self._timer = loop.call_later(max(0.0, self.deadline - time.monotonic()), self._late)

    def ends(self, outcome: Outcome) -> None:
        """End a unary call with its one message, or a status."""
        if isinstance(outcome, Status):
            self.finish(outcome)
        elif not self.ended:
            self._begin()
            self._wire.send(self, b"\0" + len(outcome).to_bytes(4, "big") + outcome)
            self.finish(OK)

    def finish(self, status: Status) -> None:
        """End the call."""
        if self.ended:
            return
        self.ended = True
        self._stop_timer()
        if status is OK:
            block = headers.OK_TRAILERS
        else:
            if status.code is not grpc.StatusCode.OK:
                self.out.parts.clear()
            block = trailers(status)
        if not self._began:
            block = headers.INITIAL + block
        if self.out.parts:
            self._last = block
        else:
            self._wire.end(self, block)

    def give_up(self) -> None:
        """The server stops: end the call as it is."""
        self.cancel()
        self.finish(Status(grpc.StatusCode.UNAVAILABLE, "the server is stopping"))

    def cancel(self) -> None:
        """Stop what is being done for the call."""
        if self._task is not None:
            # What is cancelled before it has begun never begins.
            self._is_cancelled = True
            if self._is_running:
                self._task.cancel()

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
        except Exception as exc:
            log.exception("a handler of %s failed", self.head.path)
            kind = type(exc).__name__
            self.finish(Status(grpc.StatusCode.UNKNOWN, f"the server failed with a {kind}"))

    def _cut_short(self) -> None:
        code, why = grpc.StatusCode.CANCELLED, "cancelled"
        if self._is_late:
            code, why = grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline has passed"
        self.finish(Status(code, why))

    async def _handle(self) -> None:
        """Call the handler with what its kind is called with."""
        handler = self.handler
        if handler.request_streaming:
            request: Any = self._messages()
            method = handler.stream_stream or handler.stream_unary
        else:
            request = self.message
            if handler.request_deserializer is not None:
                request = handler.request_deserializer(request)
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

    def _late(self) -> None:
        self._is_late = True
        self.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self, metadata: Metadata = ()) -> None:
        if not self._began:
            self._began = True
            self._wire.begin(self, headers.initial(metadata) if metadata else headers.INITIAL)

    # What a handler may ask; names and meaning are those of `grpc.aio.ServicerContext`.

    def time_remaining(self) -> float | None:
        """Seconds to the deadline, 0 if it has passed; None: there is none."""
        if self.deadline == math.inf:
            return None
        return max(0.0, self.deadline - time.monotonic())

    def invocation_metadata(self) -> Metadata:
        """What the caller sent along."""
        return self.head.metadata()

    def peer(self) -> str:
        """The caller's address."""
        return self._wire.peer

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        """Send metadata after the answer."""
        self._trailing = tuple(metadata)

    def set_code(self, code: grpc.StatusCode) -> None:
        """End the call with another status than OK."""
        self._code = code

    def set_details(self, details: str) -> None:
        """Say why."""
        self._details = details

    def cancelled(self) -> bool:
        """Whether the caller has given up."""
        return self.ended

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        """Send metadata before the answer."""
        self._begin(metadata)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> None:
        """End the call with a status; raises `grpc.aio.AbortError`, which is to be let through."""
        self._code, self._details = code, details
        if trailing_metadata:
            self._trailing = tuple(trailing_metadata)
        raise grpc.aio.AbortError

    async def read(self) -> Any:
        """The next message; `grpc.aio.EOF` after the last."""
        while not self.inbox.messages:
            if self.inbox.complete:
                return grpc.aio.EOF
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
            self._reader = None
        (message,) = self._take(1)
        return message

    def read_ready(self) -> list[Any]:
        """The messages that have come and not been read; none is waited for."""
        return self._take(len(self.inbox.messages))

    def write_now(self, response: Any) -> bool:
        """Send a message, if all before it are on their way; False: it was not sent."""
        if self.ended or self.out.parts:
            return False
        self._send(response)
        return True

    async def write(self, response: Any) -> None:
        """Send a message, and wait until the peer has room for the next."""
        if self.ended:
            raise asyncio.CancelledError
        self._send(response)
        if self.out.parts:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def _send(self, response: Any) -> None:
        serializer: Callable[[Any], bytes] | None = self.handler.response_serializer
        body: bytes = response if serializer is None else serializer(response)
        self._begin()
        self._wire.send(self, b"\0" + len(body).to_bytes(4, "big") + body)

    def _take(self, count: int) -> list[Any]:
        taken = [self.inbox.messages.popleft() for _ in range(count)]
        if (more := self.inbox.to_grant()) > 0:
            self._wire.grant(self, more)
        deserializer = self.handler.request_deserializer
        return taken if deserializer is None else [deserializer(each) for each in taken]
