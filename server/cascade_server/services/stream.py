"""`SynthesizeStream`: one standing stream of requests and answers, from first message to last.

Its requests join the queue of all callers. The answers of one turn leave as one message, so that a
request needs neither a task nor a write of its own. Only a request that has to wait gets a task.
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

from cascade_server.access.grants import ANYBODY, Caller
from cascade_server.errors import NotReady, Refusal
from cascade_server.services.allowance import Allowance
from cascade_server.services.answering import Answering
from cascade_server.services.exchange import Exchange
from cascade_server.services.synthesize_message import StreamedMessage
from cascade_server.services.turns import Turns
from cascade_server.services.unary import headers_of
from cascade_server.transport.http2.headers import Fields

# The most bytes of a message of several answers; many clients reject messages above 4 MiB.
MESSAGE_BYTES = 1024 * 1024
DRAINING = "the server is draining; what it had read is answered"

# grpc has no types. The methods used are read, write and time_remaining, and, on this server's own
# transport, read_ready and write_now, which do not wait.
Context: TypeAlias = Any


class StreamCaller:
    """The caller of one request of a stream; a `WaitingCaller`."""

    __slots__ = ("_id", "_stream", "exchange")

    patient = True
    paused = False
    is_rpc = False
    exchange: Exchange

    def __init__(self, stream: Stream, number: int) -> None:
        self._stream, self._id = stream, number

    @property
    def method(self) -> str:
        """The stream's method."""
        return self._stream.method

    @property
    def headers(self) -> Fields:
        """The headers of the stream."""
        return self._stream.headers

    @property
    def gone(self) -> bool:
        """Whether the stream has ended."""
        return self._stream.ended

    def open(self) -> bool:
        """Tell the stream that the request's turn has come; its message was read already."""
        self._stream.takes(self.exchange)
        return True

    def send(self, message: bytes) -> None:
        """Send the answer, together with others of the stream."""
        self._stream.answers(self.exchange, message)

    def refuse(self, refusal: Refusal) -> None:
        """Answer with an error; the stream goes on."""
        response = pb.SynthesizeStreamResponse()
        failure = response.answers.add(id=self._id).failure
        failure.code = refusal.code.value[0]
        failure.message = refusal.message
        if refusal.pushback_ms is not None:
            failure.pushback_milliseconds = refusal.pushback_ms
        self._stream.answers(self.exchange, response.SerializeToString())

    def wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work in a task of the stream."""
        self._stream.starts(work)


class Stream:
    """Answers the requests of one stream.

    Args:
        answering: reads and answers the requests.
        turns: the queue that all requests share.
        context: the context of the stream's call.
        most: most requests in flight, from read to written; at this number, reading pauses.
        method: "/package.Service/Method".
        clock: monotonic seconds.
        identify: returns the caller of the requests read now; raises if the caller may no longer
            send, for example because its token has expired.
        allowance: limits the requests of tenants; None: access is not configured.

    Attributes:
        ended: whether the caller no longer waits for answers.
        method, headers: those of the stream's call.
    """

    def __init__(
        self,
        answering: Answering,
        turns: Turns,
        context: Context,
        most: int,
        method: str,
        clock: Callable[[], float] = time.monotonic,
        identify: Callable[[], Caller] = lambda: ANYBODY,
        allowance: Allowance | None = None,
    ) -> None:
        self._answering, self._turns = answering, turns
        self.method, self.headers = method, headers_of(context)
        self._identify, self._allowance = identify, allowance
        self._context, self._most, self._clock = context, most, clock
        self._read_ready = getattr(context, "read_ready", list)
        self._write_now = getattr(context, "write_now", lambda _: False)
        self.ended = False
        # Requests read but not queued yet; the number of queued requests.
        self._unadmitted: deque[Exchange] = deque()
        self._queued = 0
        # Tasks of requests that wait for their answers; the ones among them that have begun to run.
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun: set[asyncio.Task[None]] = set()
        # Answers that will leave as one message; messages that wait until the peer has room.
        self._together: list[bytes] = []
        self._is_flush_due = False
        self._ready: list[bytes] = []
        self._is_writing = False
        self._wake_writer, self._moved = asyncio.Event(), asyncio.Event()
        # Whether the reader waits for a message, whether it must stop, whether the writer may end.
        self._in_read = self._last = self._no_more = False

    async def run(self, draining: asyncio.Event) -> None:
        """Answer until the caller has sent its last request or the server drains.

        Raises:
            DecodeError: a message is malformed; those before it have been answered.
            NotKnown, NotPermitted: the caller may no longer send; earlier messages have been
                answered.
            NotReady: the server drains; every request that was read has been answered.
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
                    # The traceback refers to this frame. If the frame referred to the error or its
                    # task, the malformed message would stay in memory until the next collection.
                    del ended
            if drained.done():
                raise NotReady(DRAINING)
        finally:
            # Queued requests are counted in their turn, others by their own tasks. A task that has
            # not begun must not be cancelled, or it would never count its request; it checks
            # `ended` instead.
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
        """Queue the requests of a message, as there is room for them."""
        left, now = self._context.time_remaining(), self._clock()
        deadline, identity = math.inf if left is None else now + left, self._identify()
        unadmitted = self._unadmitted = deque(
            self._exchange(each, now, deadline, identity) for each in message.requests
        )
        while unadmitted:
            while (room := self._room()) <= 0:
                self._moved.clear()
                await self._moved.wait()
            # Collects refusals, so that the flush below sends them together.
            self._is_flush_due = True
            for _ in range(int(min(room, len(unadmitted)))):
                self._hand_over(unadmitted.popleft())
            self._flush()

    def _exchange(
        self, streamed: pb.StreamedRequest, now: float, deadline: float, identity: Caller
    ) -> Exchange:
        """Create the exchange of a new request; its own timeout, if any, starts now."""
        if timeout := streamed.request.timeout_microseconds:
            deadline = min(deadline, now + timeout / 1e6)
        caller = StreamCaller(self, streamed.id)
        exchange = Exchange(StreamedMessage(streamed), caller, now, deadline, identity)
        caller.exchange = exchange
        return exchange

    def _hand_over(self, exchange: Exchange) -> None:
        """Queue a request, or refuse it if its turn would come too late."""
        try:
            if self._allowance is not None:
                self._allowance.request(exchange.identity)
            self._turns.admit(self._clock(), exchange.deadline, patient=True)
        except Exception as exc:  # raised, it would end the stream and all that is in flight
            self._answering.refuse_unread(exchange, exc)
            return
        self._queued += 1
        self._turns.add(exchange)

    def _room(self) -> float:
        """Return how many requests may be queued now.

        If the gate has no room, the stream's requests wait here instead of being refused, as long
        as earlier ones are in flight: their answers will make room.
        """
        under_way = len(self._tasks) + self._queued
        room = self._most - under_way - len(self._ready) - self._is_writing
        return min(room, max(self._turns.room(), not under_way))

    # Called by `StreamCaller`.

    def takes(self, exchange: Exchange) -> None:
        """Note that a request's turn has come."""
        self._queued -= 1
        self._moved.set()

    def answers(self, exchange: Exchange, message: bytes) -> None:
        """Send an answer, together with others of the same turn."""
        self._together.append(message)
        if not self._is_flush_due:
            self._is_flush_due = True
            self._turns.then(self._flush)

    def starts(self, work: Coroutine[Any, Any, None]) -> None:
        """Run, in a task, the work of a request that has to wait for its answer."""
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
        """Write the collected answers at once, or hand them to the writer if the peer is behind."""
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
