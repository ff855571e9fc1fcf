"""`SynthesizeStream`: one standing connection, from its first message to its last.

What the student can draw at once is drawn with what has come on all streams, in one run a turn of
the event loop: no task and no write of its own for a request. Only what has to wait becomes a task.
Answers of a turn leave as one message a stream.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import grpc
from cascade_proto import synthesis_pb2 as pb

from cascade_server.cascade import synthesis
from cascade_server.cascade.synthesis import Drawn, Plan
from cascade_server.counts.calls import Call
from cascade_server.deadline import Work
from cascade_server.engines.noise import recycle
from cascade_server.errors import NotReady, refusal_of
from cascade_server.objectives.report import OK
from cascade_server.terms import Tier

# An answer larger than this leaves alone: many clients accept no message above 4 MiB.
MESSAGE_BYTES = 1024 * 1024
DRAINING = "the server is draining; what it had read is answered"

# grpc has no types; what is used of a context is read, write and time_remaining, and of the
# server's own transport what needs no waiting: read_ready and write_now.
Context: TypeAlias = Any


class Answering(Protocol):
    """What a stream asks of the service."""

    def call(self) -> Call:
        """A request that has just been read, to be counted."""

    def plan(self, request: pb.SynthesizeRequest, work: Work) -> Plan:
        """Check and encode a request; raises what is wrong with it."""

    def room(self) -> int:
        """How many more real-time requests would be admitted now."""

    def draw_now(self, jobs: Sequence[Plan]) -> list[Drawn | None]:
        """Draw at once what can be; None: to be answered by `answer`."""

    async def answer(self, job: Plan) -> tuple[pb.SynthesizeResponse, Tier]:
        """Wait until a plan is answered."""

    def took(self, seconds: float, waiting: int) -> None:
        """A request for one row took so long from when it was taken up, and so many waited."""


@dataclass(frozen=True, eq=False, slots=True)
class Asked:
    """One request, from when its message was read.

    Attributes:
        id: the caller's.
        request, work, call: what is asked, until when, and where it is counted.
        since: when it was taken up, monotonic seconds.
    """

    id: int
    request: pb.SynthesizeRequest
    work: Work
    call: Call
    since: float


class Turns:
    """Takes up requests of all streams, those that came together in one run.

    Args:
        answering: the service.
        most: requests of a turn.
    """

    def __init__(self, answering: Answering, most: int) -> None:
        self._answering, self._most = answering, most
        self._waiting: list[tuple[Asked, Stream]] = []
        self._is_due = False
        # Tasks that have not begun, and so are not yet inside.
        self._starting = 0

    def room(self) -> int:
        """How many more requests would be admitted now; those that wait for their turn will be."""
        return self._answering.room() - len(self._waiting) - self._starting

    def add(self, some: Sequence[Asked], stream: Stream) -> None:
        """Requests that a stream has read; it is told of each once."""
        self._waiting.extend((asked, stream) for asked in some)
        self._come_round()

    def started(self) -> None:
        """A stream has just started a task for a request."""
        self._starting += 1
        # After the task's first step, or after it was cancelled before that.
        asyncio.get_running_loop().call_soon(self._begun)

    def _begun(self) -> None:
        self._starting -= 1

    def _come_round(self) -> None:
        if not self._is_due:
            self._is_due = True
            # All streams that have been sent something read it before that.
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_due = False
        most = min(self._most, max(1, self._answering.room() - self._starting))
        if len(self._waiting) > most:
            self._waiting.sort(key=lambda each: each[0].work.deadline)
            self._come_round()
        taken = [each for each in self._waiting[:most] if each[1].takes(each[0])]
        del self._waiting[:most]
        self._answer(taken)
        for stream in dict.fromkeys(stream for _, stream in taken):
            stream.flush()

    def _answer(self, taken: Sequence[tuple[Asked, Stream]]) -> None:
        jobs: list[Plan] = []
        of: list[tuple[Asked, Stream]] = []
        for asked, stream in taken:
            try:
                job = self._answering.plan(asked.request, asked.work)
                asked.call.answers_with(job.version)
                jobs.append(job)
                of.append((asked, stream))
            except Exception as exc:
                stream.fail(asked, exc)
        try:
            found = self._answering.draw_now(jobs)
        except Exception as exc:
            for asked, stream in of:
                stream.fail(asked, exc)
            return
        now = time.monotonic()
        for (asked, stream), job, drawn in zip(of, jobs, found, strict=True):
            if drawn is None:
                stream.wait_for(asked, job)
                continue
            stream.drawn(asked, job, drawn)
            if job.total == 1:
                self._answering.took(now - asked.since, len(self._waiting) + len(taken))


class Stream:
    """Answers the requests of one stream.

    Args:
        answering: the service.
        turns: of all streams.
        context: of the call.
        most: requests in flight, from read to written; beyond it nothing is read.
    """

    def __init__(self, answering: Answering, turns: Turns, context: Context, most: int) -> None:
        self._answering, self._turns, self._context = answering, turns, context
        self._most = most
        self._read_ready = getattr(context, "read_ready", list)
        self._write_now = getattr(context, "write_now", lambda _: False)
        # Requests that have been read and not been answered, and how many of them wait for their
        # turn.
        self._open: set[Asked] = set()
        self._queued = 0
        self._tasks: set[asyncio.Task[None]] = set()
        # Answers that are to leave together, and messages that wait until the peer has room.
        self._answers = pb.SynthesizeStreamResponse()
        self._size = 0
        self._ready: list[bytes] = []
        self._is_writing = False
        self._wake_writer, self._moved = asyncio.Event(), asyncio.Event()
        # The reader waits for a message; it is to read no other; nothing more is to be written.
        self._in_read = self._last = self._no_more = False

    async def run(self, draining: asyncio.Event) -> None:
        """Answer until the caller has no more requests, or the server drains.

        Raises:
            DecodeError: a message is none; those before it have been answered.
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
            self._no_more = True
            self._wake_writer.set()
            await writer
            if isinstance(ended, Exception):
                raise ended
            if drained.done():
                raise NotReady(DRAINING)
        finally:
            for task in (drained, reader, writer, *self._tasks):
                task.cancel()
            for asked in self._open:
                asked.call.hung_up()
            self._open.clear()

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
        left = self._context.time_remaining()
        asked, now = [], time.monotonic()
        for each in message.requests:
            work = Work.within(left, each.request.timeout_microseconds)
            call = self._answering.call()
            call.asks(*synthesis.counted_as(each.request, work.deadline))
            asked.append(Asked(each.id, each.request, work, call, now))
        self._open.update(asked)
        while asked:
            while (room := self._room()) <= 0:
                self._moved.clear()
                await self._moved.wait()
            self._queued += len(asked[:room])
            self._turns.add(asked[:room], self)
            del asked[:room]

    def _room(self) -> int:
        """Requests that may be handed over now.

        One's own are not sent to be refused: they wait here while others of the stream are on
        their way, whose answers make room.
        """
        under_way = len(self._tasks) + self._queued
        room = self._most - under_way - len(self._ready) - self._is_writing
        return min(room, max(self._turns.room(), not under_way))

    # What the turns say.

    def takes(self, asked: Asked) -> bool:
        """A request's turn has come; whether an answer would go anywhere."""
        self._queued -= 1
        self._moved.set()
        return asked in self._open

    def drawn(self, asked: Asked, job: Plan, drawn: Drawn) -> None:
        """A request's rows are there."""
        answer = self._answers.answers.add(id=asked.id)
        try:
            synthesis.pack(job, drawn, answer.response)
        except Exception as exc:
            del self._answers.answers[-1]
            self.fail(asked, exc)
            return
        recycle(job.rng)
        self._sends(asked, drawn.option.tier, job.total)

    def wait_for(self, asked: Asked, job: Plan) -> None:
        """A request's rows are not there yet."""
        self._tasks.add(asyncio.create_task(self._wait(asked, job)))
        self._turns.started()

    def fail(self, asked: Asked, error: Exception) -> None:
        """A request has failed, and says so in its answer."""
        refusal = refusal_of(error)
        answer = self._answers.answers.add(id=asked.id)
        answer.failure.code = refusal.code.value[0]
        answer.failure.message = refusal.message
        if refusal.pushback_ms is not None:
            answer.failure.pushback_milliseconds = refusal.pushback_ms
        self._open.discard(asked)
        asked.call.ends(refusal.code)

    def flush(self) -> None:
        """Send the answers that are there, or as soon as there is room for them."""
        if not self._answers.answers:
            return
        body = self._answers.SerializeToString()
        self._answers.Clear()
        if self._ready or self._is_writing or not self._write_now(body):
            self._ready.append(body)
            self._wake_writer.set()

    # What has to wait.

    async def _wait(self, asked: Asked, job: Plan) -> None:
        try:
            response, tier = await self._answering.answer(job)
            self._answers.answers.add(id=asked.id, response=response)
            self._sends(asked, tier, job.total)
        except Exception as exc:
            self.fail(asked, exc)
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.discard(task)
            self._moved.set()
        self.flush()

    def _sends(self, asked: Asked, tier: Tier, rows: int) -> None:
        asked.call.sends(tier, rows)
        self._open.discard(asked)
        asked.call.ends(OK)

    async def _write(self) -> None:
        while self._ready or not self._no_more:
            if not self._ready:
                self._wake_writer.clear()
                await self._wake_writer.wait()
                continue
            # What protobuf makes of messages one after another is the message that has the fields
            # of them all.
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
