"""One call: what comes of it, what is sent, and how it ends, whoever handles it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import grpc

from cascade_server.transport.http2 import blocks
from cascade_server.transport.http2.budgets import Inflation
from cascade_server.transport.http2.frames import Code
from cascade_server.transport.http2.headers import Head, Metadata
from cascade_server.transport.http2.limits import TransportLimits
from cascade_server.transport.http2.streams import Stream
from cascade_server.transport.inbox import Inbox, NoRoom, Refused
from cascade_server.transport.outbox import Outgoing
from cascade_server.transport.outcomes import OK, Outcome, Status, trailers
from cascade_server.transport.peer import Peer


class Wire(Protocol):
    """What a call asks of its connection.

    Attributes:
        peer: the other end of the connection.
        inflation: paces the inflating of messages.
        clock: monotonic seconds.
        over: is told of the path, the status and the seconds of a call that has ended; None: nobody
            is.
    """

    peer: Peer
    inflation: Inflation
    over: Callable[[str, grpc.StatusCode, float], None] | None
    clock: Callable[[], float]

    def begin(self, call: Call, block: bytes) -> None:
        """Send the headers of an answer."""

    def send(self, call: Call, body: bytes) -> None:
        """Send part of an answer, as the peer has room for it.

        Raises:
            Refused: too much waits already.
        """

    def send_parts(self, call: Call, parts: Sequence[memoryview]) -> None:
        """The same of a message in several places, none of which is copied; raises as `send`."""

    def end(self, call: Call, block: bytes) -> None:
        """Send an answer's last headers."""

    def answer(self, call: Call, message: bytes) -> bool:
        """Send the whole of a unary call's answer; False: there is no room for it now."""

    def reset(self, call: Call, code: Code) -> None:
        """End a call without another word."""

    def grant(self, call: Call) -> None:
        """Let the peer send more of a call's messages, if there is room for more.

        Raises:
            Refused: there will be none.
        """

    def refused(self, call: Call, code: grpc.StatusCode) -> None:
        """A call has been ended that nobody was told of, for no fault of its caller's."""

    def hold(self, size: int) -> bool:
        """Count bytes that are kept for a call; False: there may be no more."""

    def release(self, size: int) -> None:
        """Count them no longer."""


class Call:
    """A call, as its connection and the turns see it.

    Attributes:
        message: a unary call's, once its turn has come.
        stream: of the connection.
        inbox, out: what is received and sent.
        holds: bytes of the message taken last that are counted.
        ended: whether nothing more is to be sent.
        when_gone: called if the caller hangs up; None: nobody wants to know.
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
        "when_gone",
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
        self.inbox = Inbox(head.encoding, limits, single)
        self.out = Outgoing(stream.number, window, self._sent)
        self.message = b""
        self.holds = 0
        self.when_gone: Callable[[], None] | None = None
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
                    self._awaited = self._wire.clock()
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
        self._cut_off()
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
        self._cut_off()
        if self.when_gone is not None:
            self.when_gone()
            self.when_gone = None
        self.cancel()
        self._stop_timer()

    def _cut_off(self) -> None:
        """The call ends without another word."""
        if not self.ended and self._wire.over is not None:
            self._over(grpc.StatusCode.CANCELLED)
        self.ended = True

    def _over(self, code: grpc.StatusCode) -> None:
        """Tell who wants to know that the call has ended."""
        over = self._wire.over
        assert over is not None
        over(self.head.path, code, self._wire.clock() - self.arrived)

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
    def is_unary(self) -> bool:
        """Whether the caller sends one message."""
        return not self.handler.request_streaming

    @property
    def sender(self) -> Peer:
        """The other end of the call's connection; `Rpc.peer` is its address, as gRPC has it."""
        return self._wire.peer

    @property
    def task(self) -> asyncio.Task[None] | None:
        """Runs the handler; None: it was not started."""
        return self._task

    @property
    def paused(self) -> bool:
        """Whether its message is not to be inflated in this turn: enough has been."""
        return self._wire.inflation.pauses and self.inbox.compressed

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
        try:
            message = inbox.take()
        finally:
            if inbox.inflated:
                self._wire.inflation.spent(inbox.inflated)
        size = len(message)
        kept = size if inbox.inflated or size > self._limits.ahead_bytes else 0
        if self.ended:
            return message
        if kept > before and not self._wire.hold(kept - before):
            raise NoRoom
        self.holds, inbox.extra = kept, 0
        if kept < before:
            self._wire.release(before - kept)
        return message

    def _set_timer(self) -> None:
        if self.deadline < math.inf and self._timer is None:
            left = max(0.0, self.deadline - self._wire.clock())
            self._timer = asyncio.get_running_loop().call_later(left, self._late)

    def ends(self, outcome: Outcome) -> None:
        """End a unary call with its one message, or a status."""
        if isinstance(outcome, Status):
            self.finish(outcome)
        elif not self.ended:
            if not self._began and self._wire.answer(self, outcome):
                self._began = self.ended = True
                self._stop_timer()
                if self._wire.over is not None:
                    self._over(grpc.StatusCode.OK)
                return
            self._begin()
            try:
                self._wire.send(self, b"\0" + len(outcome).to_bytes(4, "big") + outcome)
            except Refused as exc:
                self.finish(Status(exc.code, str(exc)))
                return
            self.finish(OK)

    def finish(self, status: Status) -> None:
        """End the call with a status, unless it has ended already."""
        if self.ended:
            return
        self.ended = True
        if self._wire.over is not None:
            self._over(status.code)
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
