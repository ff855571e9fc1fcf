"""`SynthesizeStream`: one standing connection, from its first message to its last.

Its requests are answered in the turns that those of all callers share. What is answered in one turn
leaves as one message: no task and no write of its own for a request. Only what has to wait becomes
a task.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import grpc
from cascade_proto import synthesis_pb2 as pb

from cascade_server.access.grants import ANYBODY
from cascade_server.access.grants import Caller as Asking
from cascade_server.errors import NotReady, Refusal
from cascade_server.services.allowance import Allowance
from cascade_server.services.answering import Answering
from cascade_server.services.exchange import Exchange
from cascade_server.services.synthesize_message import StreamedMessage
from cascade_server.services.turns import Turns
from cascade_server.services.unary import headers_of
from cascade_server.transport.http2.headers import Fields

# A message of answers does not grow beyond this: many clients accept none above 4 MiB.
MESSAGE_BYTES = 1024 * 1024
DRAINING = "the server is draining; what it had read is answered"

# grpc has no types; what is used of a context is read, write and time_remaining, and of the
# server's own transport what needs no waiting: read_ready and write_now.
Context: TypeAlias = Any


class StreamCaller:
    """Who waits for one answer of a stream; a `Caller`."""

    __slots__ = ("_id", "_stream", "exchange")

    patient = True
    paused = False
    is_rpc = False
    exchange: Exchange

    def __init__(self, stream: Stream, number: int) -> None:
        self._stream, self._id = stream, number

    @property
    def method(self) -> str:
        """That the stream was called by."""
        return self._stream.method

    @property
    def headers(self) -> Fields:
        """That the stream came with."""
        return self._stream.headers

    @property
    def gone(self) -> bool:
        """Whether the stream has ended."""
        return self._stream.ended

    def open(self) -> bool:
        """Its turn has come."""
        self._stream.takes(self.exchange)
        return True

    def send(self, message: bytes) -> None:
        """Send the answer with others of the stream."""
        self._stream.answers(self.exchange, message)

    def refuse(self, refusal: Refusal) -> None:
        """Say what is wrong in the answer: the stream goes on."""
        response = pb.SynthesizeStreamResponse()
        failure = response.answers.add(id=self._id).failure
        failure.code = refusal.code.value[0]
        failure.message = refusal.message
        if refusal.pushback_ms is not None:
            failure.pushback_milliseconds = refusal.pushback_ms
        self._stream.answers(self.exchange, response.SerializeToString())

    def wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work in a task of the stream's."""
        self._stream.starts(work)


class Stream:
    """Answers the requests of one stream.

    Args:
        answering, turns: of all edges.
        context: of the stream's call.
        most: requests in flight, from read to written; beyond it nothing is read.
        method: "/package.Service/Method".
        clock: monotonic seconds.
        asks: who sends the requests that come now; raises where it may do so no longer.
        allowance: how many they may be; None: access is not configured.

    Attributes:
        ended: whether nobody waits for any of its answers.
        method, headers: of its call.
    """

    def __init__(
        self,
        answering: Answering,
        turns: Turns,
        context: Context,
        most: int,
        method: str,
        clock: Callable[[], float] = time.monotonic,
        asks: Callable[[], Asking] = lambda: ANYBODY,
        allowance: Allowance | None = None,
    ) -> None:
        self._answering, self._turns = answering, turns
        self.method, self.headers = method, headers_of(context)
        self._asks, self._allowance = asks, allowance
        self._context, self._most, self._clock = context, most, clock
        self._read_ready = getattr(context, "read_ready", list)
        self._write_now = getattr(context, "write_now", lambda _: False)
        self.ended = False
        # Requests that have been read and wait for room, and how many wait for their turn.
        self._unadmitted: deque[Exchange] = deque()
        self._queued = 0
        # What has to wait for its answer; of that, what has begun.
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun: set[asyncio.Task[None]] = set()
        # Answers that are to leave together, and messages that wait until the peer has room.
        self._together: list[bytes] = []
        self._is_flush_due = False
        self._ready: list[bytes] = []
        self._is_writing = False
        self._wake_writer, self._moved = asyncio.Event(), asyncio.Event()
        # The reader waits for a message; it is to read no other; nothing more is to be written.
        self._in_read = self._last = self._no_more = False

    async def run(self, draining: asyncio.Event) -> None:
        """Answer until the caller has no more requests, or the server drains.

        Raises:
            DecodeError: a message is none; those before it have been answered.
            NotKnown, NotPermitted: who sends it may not any longer; likewise.
            NotReady: the server drains; what had been read has been answered.
        """
        drained = asyncio.ensure_future(draining.wait())
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        writer.add_done_callback(lambda _: self._moved.set())
        try:
            await asyncio.wait((reader, writer, drained), return_when=asyncio.FIRST_COMPLETED)
            self._last = True
            if self._in_read or writer.done():
                reader.cancel()
            (ended,) = await asyncio.gather(reader, return_exceptions=True)
            while (self._queued or self._tasks) and not writer.done():
                self._moved.clear()
                await self._moved.wait()
            self._flush()
            self._no_more = True
            self._wake_writer.set()
            await writer
            if isinstance(ended, Exception):
                try:
                    raise ended
                finally:
                    # Its traceback keeps this frame, which is to keep neither it nor its task: else
                    # the message that was none would stay until garbage is looked for.
                    del ended
            if drained.done():
                raise NotReady(DRAINING)
        finally:
            # What waits for its turn is counted there; what is underway, by its own task. One that
            # has not begun is left to see that nobody waits: cancelled, it would never begin.
            self.ended = True
            for task in (drained, reader, writer, *self._begun):
                task.cancel()
            del task, reader
            for exchange in self._unadmitted:
                self._answering.gave_up(exchange)

    async def _read(self) -> None:
        while not self._last:
            self._in_read = True
            message = await self._context.read()
            self._in_read = False
            if message is grpc.aio.EOF:
                return
            for each in (message, *self._read_ready()):
                await self._take(pb.SynthesizeStreamRequest.FromString(each))

    async def _take(self, message: pb.SynthesizeStreamRequest) -> None:
        """Hand over a message's requests, as there is room for them."""
        left, now = self._context.time_remaining(), self._clock()
        ends, asks = math.inf if left is None else now + left, self._asks()
        some = self._unadmitted = deque(
            self._exchange(each, now, ends, asks) for each in message.requests
        )
        while some:
            while (room := self._room()) <= 0:
                self._moved.clear()
                await self._moved.wait()
            # What is refused at the door leaves together too.
            self._is_flush_due = True
            for _ in range(int(min(room, len(some)))):
                self._hand_over(some.popleft())
            self._flush()

    def _exchange(
        self, streamed: pb.StreamedRequest, now: float, ends: float, asks: Asking
    ) -> Exchange:
        """A request of a message that has just been read; its own time runs from now on."""
        if timeout := streamed.request.timeout_microseconds:
            ends = min(ends, now + timeout / 1e6)
        caller = StreamCaller(self, streamed.id)
        exchange = Exchange(StreamedMessage(streamed), caller, now, ends, asks)
        caller.exchange = exchange
        return exchange

    def _hand_over(self, exchange: Exchange) -> None:
        """Have a request wait for its turn, unless that would come too late."""
        try:
            if self._allowance is not None:
                self._allowance.request(exchange.asks)
            self._turns.admit(self._clock(), exchange.deadline, patient=True)
        except Exception as exc:
            self._answering.refuse_unread(exchange, exc)
            return
        self._queued += 1
        self._turns.add(exchange)

    def _room(self) -> float:
        """Requests that may be handed over now.

        One's own are not sent to be refused: they wait here while others of the stream are on
        their way, whose answers make room.
        """
        under_way = len(self._tasks) + self._queued
        room = self._most - under_way - len(self._ready) - self._is_writing
        return min(room, max(self._turns.room(), not under_way))

    # What callers say.

    def takes(self, exchange: Exchange) -> None:
        """A request's turn has come."""
        self._queued -= 1
        self._moved.set()

    def answers(self, exchange: Exchange, message: bytes) -> None:
        """A request has its answer."""
        self._together.append(message)
        if not self._is_flush_due:
            self._is_flush_due = True
            self._turns.then(self._flush)

    def starts(self, work: Coroutine[Any, Any, None]) -> None:
        """A request has to wait for its answer."""
        self._tasks.add(asyncio.create_task(self._run(work)))

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._begun.add(task)
        try:
            await work
        finally:
            self._begun.discard(task)
            self._tasks.discard(task)
            self._moved.set()

    def _flush(self) -> None:
        """Send the answers that are there, or as soon as there is room for them."""
        self._is_flush_due = False
        if not self._together:
            return
        parts, self._together = self._together, []
        if self._ready or self._is_writing or sum(map(len, parts)) > MESSAGE_BYTES:
            self._ready += parts
            self._wake_writer.set()
            return
        body = b"".join(parts)
        if not self._write_now(body):
            self._ready.append(body)
            self._wake_writer.set()

    async def _write(self) -> None:
        while self._ready or not self._no_more:
            if not self._ready:
                self._wake_writer.clear()
                await self._wake_writer.wait()
                continue
            parts: list[bytes] = []
            size = 0
            for part in self._ready:
                if parts and size + len(part) > MESSAGE_BYTES:
                    break
                parts.append(part)
                size += len(part)
            del self._ready[: len(parts)]
            self._is_writing = True
            await self._context.write(b"".join(parts))
            self._is_writing = False
            self._moved.set()
