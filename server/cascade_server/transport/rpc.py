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

from cascade_server.transport import blocks
from cascade_server.transport.budgets import Inflation
from cascade_server.transport.frames import Code
from cascade_server.transport.headers import Head, Metadata
from cascade_server.transport.inbox import Inbox, NoRoom, Refused
from cascade_server.transport.limits import TransportLimits
from cascade_server.transport.outbox import Outgoing
from cascade_server.transport.streams import Stream

log = logging.getLogger("cascade.server")

# Messages that a handler reads before others have their turn.
MESSAGES_A_TURN = 16


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
    return blocks.trailers(status.code.value[0], status.message, metadata)


def last_block(status: Status) -> bytes:
    """The block of an answer that has no messages."""
    return blocks.INITIAL + trailers(status)


# Of a unary call: its message, or how it failed.
Outcome: TypeAlias = bytes | Status


class Arrival(Protocol):
    """A unary call that has sent all, before anything was done about it.

    Attributes:
        message: as it was sent, once it is opened.
        arrived, deadline: monotonic seconds; infinite where there is no deadline.
    """

    message: bytes
    arrived: float
    deadline: float

    @property
    def gone(self) -> bool:
        """Whether an answer would go nowhere."""

    @property
    def paused(self) -> bool:
        """Whether its message is not to be inflated in this turn: enough has been."""

    def open(self) -> bool:
        """Have the message be there; False: it cannot be, and the call has ended."""

    def ends(self, outcome: Outcome) -> None:
        """End the call with its one message, or a status."""

    def start(self, work: Coroutine[Any, Any, Outcome]) -> None:
        """Run what says how the call ends in a task of its own, which ends with the call."""

    def time_remaining(self) -> float | None:
        """Seconds to the deadline, 0 if it has passed; None: there is none."""


class Wire(Protocol):
    """What a call asks of its connection.

    Attributes:
        peer: the caller's address.
        inflation: paces the inflating of messages.
    """

    peer: str
    inflation: Inflation

    def begin(self, rpc: Rpc, block: bytes) -> None:
        """Send the headers of an answer."""

    def send(self, rpc: Rpc, body: bytes) -> None:
        """Send part of an answer, as the peer has room for it.

        Raises:
            Refused: too much waits already.
        """

    def end(self, rpc: Rpc, block: bytes) -> None:
        """Send an answer's last headers."""

    def answer(self, rpc: Rpc, message: bytes) -> bool:
        """Send the whole of a unary call's answer; False: there is no room for it now."""

    def reset(self, rpc: Rpc, code: Code) -> None:
        """End a call without another word."""

    def grant(self, rpc: Rpc) -> None:
        """Let the peer send more of a call's messages, if there is room for more.

        Raises:
            Refused: there will be none.
        """

    def refused(self, rpc: Rpc, code: grpc.StatusCode) -> None:
        """A call has been ended that nobody was told of, for no fault of its caller's."""

    def hold(self, size: int) -> bool:
        """Count bytes that are kept for a call; False: there may be no more."""

    def release(self, size: int) -> None:
        """Count them no longer."""


class Rpc:
    """A call, which is also the `context` of `grpc.aio` to its handler.

    Attributes:
        message: a unary call's, once its turn has come.
        stream: of the connection.
        inbox, out: what is received and sent.
        holds: bytes of the message taken last that are counted.
        ended: whether nothing more is to be sent.
    """

    __slots__ = (
        "_awaited",
        "_began",
        "_code",
        "_details",
        "_drained",
        "_is_cancelled",
        "_is_late",
        "_is_running",
        "_last",
        "_limits",
        "_reader",
        "_taken",
        "_task",
        "_timer",
        "_trailing",
        "_wire",
        "arrived",
        "deadline",
        "ended",
        "handler",
        "head",
        "holds",
        "inbox",
        "message",
        "out",
        "stream",
    )

    def __init__(
        self,
        wire: Wire,
        stream: Stream,
        head: Head,
        handler: Any,
        window: int,
        limits: TransportLimits,
    ) -> None:
        self._wire, self.stream, self.head, self.handler = wire, stream, head, handler
        self._limits = limits
        self.arrived = stream.since
        self.deadline = math.inf if head.timeout is None else self.arrived + head.timeout
        single = handler is not None and not handler.request_streaming
        self.inbox = Inbox(head.encoding, limits.message_bytes, limits.ahead_bytes, single)
        self.out = Outgoing(stream.number, window, self._sent)
        self.message = b""
        self.holds = 0
        # Since when a message, or (of a unary call) anything, is awaited; None: nothing is.
        self._awaited: float | None = self.arrived if single else None
        # The block that ends the answer, while parts of it wait.
        self._last: bytes | None = None
        self.ended = self._began = False
        self._is_running = self._is_cancelled = self._is_late = False
        self._reader: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._trailing: Metadata = ()
        self._taken = 0
        self._code, self._details = grpc.StatusCode.OK, ""

    # What the connection says.

    def received(self, data: bytes, last: bool) -> None:
        """Take a part of the messages.

        Raises:
            Refused: as `Inbox.put` and `Wire.grant`.
        """
        inbox = self.inbox
        inbox.put(data, last)
        if last:
            self._awaited = None
        else:
            if self.handler.request_streaming:
                if not inbox.partial:
                    self._awaited = None
                elif self._awaited is None:
                    self._awaited = time.monotonic()
            self._wire.grant(self)
        if self._reader is not None and not self._reader.done() and (inbox.ready or last):
            self._reader.set_result(None)

    def check(self, now: float) -> None:
        """End the call if what it has begun to send takes too long."""
        most = self._limits.message_seconds
        if self._awaited is not None and now - self._awaited > most and not self.ended:
            self.cancel()
            what = f"a message that takes more than {most:g} s"
            self.finish(Status(grpc.StatusCode.DEADLINE_EXCEEDED, what))

    def stalled(self) -> None:
        """The answer is not read."""
        self.ended = True
        self.cancel()
        self._stop_timer()
        self._wire.reset(self, Code.CANCEL)

    def let_go(self) -> None:
        """Nothing that was kept for the call is kept any longer."""
        kept, self.holds, self.inbox.extra = self.holds + self.inbox.extra, 0, 0
        if kept:
            self._wire.release(kept)

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
            self._stop_timer()
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

    @property
    def paused(self) -> bool:
        """Whether its message is not to be inflated in this turn: enough has been."""
        inbox = self.inbox
        return self._wire.inflation.pauses and inbox.ready and inbox.compressed

    def open(self) -> bool:
        """Have a unary call's message be there, inflated if it has to be.

        Returns:
            False: it cannot be, and the call has ended.
        """
        inbox = self.inbox
        if (plain := inbox.take_plain()) is not None:
            self.message = plain
            return True
        if self.handler.request_streaming or not inbox.ready or (self.ended and inbox.compressed):
            return True
        try:
            self.message = self._next()
        except Refused as exc:
            self.refuse(exc)
            return False
        return True

    def _next(self) -> bytes:
        """The next message, counted if it is large or was inflated.

        Raises:
            Refused: as `Inbox.take`; or there is no room for what was inflated.
        """
        inbox, before = self.inbox, self.holds + self.inbox.extra
        message = inbox.take()
        size = len(message)
        if inbox.inflated:
            self._wire.inflation.spent(size)
        kept = size if inbox.inflated or size > self._limits.ahead_bytes else 0
        if self.ended:
            return message
        if kept > before and not self._wire.hold(kept - before):
            raise NoRoom
        self.holds, inbox.extra = kept, 0
        if kept < before:
            self._wire.release(before - kept)
        return message

    def start(self, work: Coroutine[Any, Any, Outcome] | None = None) -> None:
        """Run the handler in a task of its own; or `work`, which says how the call ends.

        Work is begun even if the caller has hung up meanwhile, which it is to ask for: it may have
        accounts to close.
        """
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(work))
        self._set_timer()

    def _set_timer(self) -> None:
        if self.deadline < math.inf and self._timer is None:
            left = max(0.0, self.deadline - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(left, self._late)

    def ends(self, outcome: Outcome) -> None:
        """End a unary call with its one message, or a status."""
        if isinstance(outcome, Status):
            self.finish(outcome)
        elif not self.ended:
            if not self._began and self._wire.answer(self, outcome):
                self._began = self.ended = True
                self._stop_timer()
                return
            self._begin()
            try:
                self._wire.send(self, b"\0" + len(outcome).to_bytes(4, "big") + outcome)
            except Refused as exc:
                self.finish(Status(exc.code, str(exc)))
                return
            self.finish(OK)

    def finish(self, status: Status) -> None:
        """End the call."""
        if self.ended:
            return
        self.ended = True
        if status is OK:
            block = blocks.OK_TRAILERS
        else:
            if status.code is not grpc.StatusCode.OK:
                self.out.parts.clear()
            block = trailers(status)
        if not self._began:
            block = blocks.INITIAL + block
        if self.out.parts:
            # The deadline is that of the last byte.
            self._last = block
            self._set_timer()
        else:
            self._stop_timer()
            self._wire.end(self, block)

    def refuse(self, why: Refused) -> None:
        """End the call for what has come of it, or for what there is no room for."""
        self.cancel()
        self.finish(Status(why.code, str(why)))
        if self._task is None and isinstance(why, NoRoom):
            self._wire.refused(self, why.code)

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
        """What a message says.

        Raises:
            Refused: nothing.
        """
        deserializer = self.handler.request_deserializer
        if deserializer is None:
            return message
        try:
            return deserializer(message)
        except Exception as exc:
            what = f"a message that {self.head.path} cannot read"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, what) from exc

    def _late(self) -> None:
        self._is_late = True
        if self._last is None:
            self.cancel()
            return
        # It was answered in time, and not read in time.
        self.out.parts.clear()
        self._last = None
        late = Status(grpc.StatusCode.DEADLINE_EXCEEDED, "the answer was not read in time")
        self._wire.end(self, trailers(late))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self, metadata: Metadata = ()) -> None:
        if not self._began:
            self._began = True
            self._wire.begin(self, blocks.initial(metadata) if metadata else blocks.INITIAL)

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
        """Messages that have come and not been read, not too many; none is waited for."""
        if self.ended or (self.inbox.ready and self.inbox.compressed):
            return []
        return self._take(MESSAGES_A_TURN)

    def write_now(self, response: Any) -> bool:
        """Send a message, if all before it are on their way; False: it was not sent."""
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
        serializer: Callable[[Any], bytes] | None = self.handler.response_serializer
        body: bytes = response if serializer is None else serializer(response)
        self._begin()
        self._wire.send(self, b"\0" + len(body).to_bytes(4, "big") + body)

    def _take(self, most: int) -> list[Any]:
        """Up to so many messages; of compressed ones, one."""
        inbox = self.inbox
        taken: list[Any] = []
        try:
            while inbox.ready and len(taken) < most:
                if inbox.compressed:
                    if taken:
                        break
                    most = 1
                taken.append(self._read_as(self._next()))
            self._wire.grant(self)
        except Refused as exc:
            self._fail(exc)
        return taken

    def _fail(self, why: Refused) -> None:
        """End the call from within its handler."""
        self.cancel()
        self.finish(Status(why.code, str(why)))
        raise asyncio.CancelledError from why
