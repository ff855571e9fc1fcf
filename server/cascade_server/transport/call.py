"""One call: what it receives and sends, and how it ends, independent of its handler."""

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
    """The operations that a call needs of its connection.

    Attributes:
        peer: the other end of the connection.
        inflation: paces the inflating of messages.
        clock: monotonic seconds.
        over: called with the path, status and seconds of each ended call; None: no callback.
    """

    peer: Peer
    inflation: Inflation
    over: Callable[[str, grpc.StatusCode, float], None] | None
    clock: Callable[[], float]

    def begin(self, call: Call, block: bytes) -> None:
        """Send the headers of an answer."""

    def send(self, call: Call, body: bytes) -> None:
        """Send part of an answer, as far as the peer has room for it.

        Raises:
            Refused: too much is already waiting.
        """

    def send_parts(self, call: Call, parts: Sequence[memoryview]) -> None:
        """Send a message that is in several places, without copying; raises as `send`."""

    def end(self, call: Call, block: bytes) -> None:
        """Send an answer's last headers."""

    def answer(self, call: Call, message: bytes) -> bool:
        """Send the whole answer of a unary call; return False if there is no room for it now."""

    def reset(self, call: Call, code: Code) -> None:
        """End a call without a status."""

    def grant(self, call: Call) -> None:
        """Let the peer send more of a call's messages, if there is room for more.

        Raises:
            Refused: there will be no room.
        """

    def refused(self, call: Call, code: grpc.StatusCode) -> None:
        """Count a call that ended before a handler saw it, through no fault of its caller."""

    def hold(self, size: int) -> bool:
        """Count bytes held for a call; return False if that exceeds the limit."""

    def release(self, size: int) -> None:
        """Stop counting bytes held for a call."""


class Call:
    """A call, as its connection and the turns see it.

    Attributes:
        message: the message of a unary call, once its turn has come.
        stream: the call's HTTP/2 stream.
        inbox, out: received and outgoing messages.
        holds: counted bytes of the message taken last.
        ended: whether nothing more will be sent.
        when_gone: called if the caller hangs up; None: no callback.
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
        # Since when the call waits for a message or, if unary, for any data; None: it does not.
        self._awaited: float | None = self.arrived if single else None
        # The header block that ends the answer, while parts of the answer wait.
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

    # Called by the connection.

    def received(self, data: bytes, last: bool) -> None:
        """Add received bytes to the messages.

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
        """End the call if its caller takes too long to complete what it has begun to send."""
        most = self._limits.message_seconds
        if self._awaited is not None and now - self._awaited > most and not self.ended:
            self.cancel()
            what = f"a message that takes more than {most:g} s"
            self.finish(Status(grpc.StatusCode.DEADLINE_EXCEEDED, what))

    def stalled(self) -> None:
        """End the call because the peer does not read the answer."""
        self._cut_off()
        self.cancel()
        self._stop_timer()
        self._wire.reset(self, Code.CANCEL)

    def let_go(self) -> None:
        """Release everything that is held for the call."""
        kept, self.holds, self.inbox.extra = self.holds + self.inbox.extra, 0, 0
        if kept:
            self._wire.release(kept)

    def lost(self) -> None:
        """End the call because the caller has hung up."""
        self._cut_off()
        if self.when_gone is not None:
            self.when_gone()
            self.when_gone = None
        self.cancel()
        self._stop_timer()

    def _cut_off(self) -> None:
        """End the call without a status."""
        if not self.ended and self._wire.over is not None:
            self._over(grpc.StatusCode.CANCELLED)
        self.ended = True

    def _over(self, code: grpc.StatusCode) -> None:
        """Report the end of the call to the callbacks."""
        over = self._wire.over
        assert over is not None
        over(self.head.path, code, self._wire.clock() - self.arrived)

    def _sent(self) -> None:
        """Note that all parts of the answer have been sent."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._last is not None:
            self._stop_timer()
            self._wire.end(self, self._last)

    # Called by the server.

    @property
    def gone(self) -> bool:
        """Whether an answer could no longer be sent."""
        return self.ended

    @property
    def is_unary(self) -> bool:
        """Whether the caller sends one message."""
        return not self.handler.request_streaming

    @property
    def sender(self) -> Peer:
        """The other end of the call's connection; `Rpc.peer` is its address in gRPC's form."""
        return self._wire.peer

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that runs the handler; None: not started."""
        return self._task

    @property
    def paused(self) -> bool:
        """Whether the message must be inflated in a later turn: this one has inflated enough."""
        return self._wire.inflation.pauses and self.inbox.compressed

    def open(self) -> bool:
        """Make a unary call's message readable, inflating it if need be.

        Returns:
            False if that failed and the call has ended.
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
        """Return the next message; its bytes are counted if it is large or was inflated.

        Raises:
            Refused: as `Inbox.take`; or there is no room for the inflated message.
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
        """End a unary call with its one message or a status."""
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
            # The deadline applies to the last byte.
            self._last = block
            self._set_timer()
        else:
            self._stop_timer()
            self._wire.end(self, block)

    def refuse(self, why: Refused) -> None:
        """End the call because of invalid input or a lack of room."""
        self.cancel()
        self.finish(Status(why.code, str(why)))
        if self._task is None and isinstance(why, NoRoom):
            self._wire.refused(self, why.code)

    def give_up(self) -> None:
        """End the call as it is, because the server stops."""
        self.cancel()
        self.finish(Status(grpc.StatusCode.UNAVAILABLE, "the server is stopping"))

    def cancel(self) -> None:
        """Cancel the work for the call."""
        if self._task is not None:
            # A task that is cancelled before it has begun never begins.
            self._is_cancelled = True
            if self._is_running:
                self._task.cancel()

    def _late(self) -> None:
        self._is_late = True
        if self._last is None:
            self.cancel()
            return
        # The answer was in time, but was not read in time.
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
