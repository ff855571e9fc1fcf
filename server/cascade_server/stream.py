"""`SynthesizeStream`: one standing connection, from its first message to its last.

What the student can draw at once is drawn where the message is read, all of it in one run: no task,
no turn of the event loop and no write of its own for a request. Only what has to wait becomes a
task. Answers that are ready when the connection can take more leave as one message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import grpc
from cascade_proto import synthesis_pb2 as pb

from cascade_server import synthesis
from cascade_server.calls import Call
from cascade_server.deadline import Work
from cascade_server.errors import NotReady, refusal_of
from cascade_server.ledger import OK
from cascade_server.router import Tier
from cascade_server.synthesis import Drawn, Plan

# An answer larger than this leaves alone: many clients accept no message above 4 MiB.
MESSAGE_BYTES = 1024 * 1024
DRAINING = "the server is draining; what it had read is answered"

# grpc has no types; what is used of a context is read, write and time_remaining.
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


@dataclass(frozen=True, eq=False, slots=True)
class Asked:
    """One request, from when its message was read."""

    id: int
    request: pb.SynthesizeRequest
    work: Work
    call: Call


class Stream:
    """Answers the requests of one stream.

    Args:
        answering: the service.
        context: of the call.
        most: requests in flight, from read to written; beyond it nothing is read.
        together: requests that are taken up before others get a turn of the event loop.
    """

    def __init__(self, answering: Answering, context: Context, most: int, together: int) -> None:
        self._answering, self._context = answering, context
        self._most, self._together = most, together
        # Requests that have been read and not been answered.
        self._open: set[Asked] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        # Answers, each a whole message: what protobuf makes of messages one after another is the
        # message that has the fields of them all.
        self._ready: list[bytes] = []
        self._writing = 0
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
        try:
            await asyncio.wait((reader, writer, drained), return_when=asyncio.FIRST_COMPLETED)
            self._last = True
            if self._in_read or writer.done():
                reader.cancel()
            (ended,) = await asyncio.gather(reader, return_exceptions=True)
            while self._tasks and not writer.done():
                await asyncio.wait((writer, *self._tasks), return_when=asyncio.FIRST_COMPLETED)
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

    async def _read(self) -> None:
        while not self._last:
            self._in_read = True
            message = await self._context.read()
            self._in_read = False
            if message is grpc.aio.EOF:
                return
            await self._take(pb.SynthesizeStreamRequest.FromString(message))

    async def _take(self, message: pb.SynthesizeStreamRequest) -> None:
        """Take up a message's requests, as there is room for them."""
        left = self._context.time_remaining()
        asked = []
        for each in message.requests:
            work = Work.within(left, each.request.timeout_microseconds)
            call = self._answering.call()
            call.asks(each.request.table, synthesis.class_of(each.request), work.deadline)
            asked.append(Asked(each.id, each.request, work, call))
        self._open.update(asked)
        while asked:
            while (room := self._room()) <= 0:
                self._moved.clear()
                await self._moved.wait()
            most = min(room, self._together)
            self._answer_now(asked[:most])
            del asked[:most]
            if asked:
                await asyncio.sleep(0)

    def _room(self) -> int:
        """Requests that may be taken up now.

        One's own are not sent to be refused: they wait here while others of the stream are on
        their way, whose answers make room.
        """
        room = self._most - len(self._tasks) - len(self._ready) - self._writing
        return min(room, self._answering.room() or not self._tasks)

    def _answer_now(self, some: Sequence[Asked]) -> None:
        jobs, of = [], []
        for asked in some:
            try:
                jobs.append(self._answering.plan(asked.request, asked.work))
                of.append(asked)
            except Exception as exc:
                self._fail(asked, exc)
        try:
            found = self._answering.draw_now(jobs)
        except Exception as exc:
            for asked in of:
                self._fail(asked, exc)
            return
        for asked, job, drawn in zip(of, jobs, found, strict=True):
            if drawn is None:
                self._tasks.add(asyncio.create_task(self._answer(asked, job)))
                continue
            try:
                response = synthesis.pack(job, drawn)
                synthesis.recycle(job.rng)
                self._send(asked, response, drawn.option.tier, job.total)
            except Exception as exc:
                self._fail(asked, exc)

    async def _answer(self, asked: Asked, job: Plan) -> None:
        try:
            response, tier = await self._answering.answer(job)
            self._send(asked, response, tier, job.total)
        except Exception as exc:
            self._fail(asked, exc)
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.discard(task)
            self._moved.set()

    def _send(self, asked: Asked, response: pb.SynthesizeResponse, tier: Tier, rows: int) -> None:
        self._put(pb.StreamedAnswer(id=asked.id, response=response))
        asked.call.sends(tier, rows)
        self._end(asked, OK)

    def _fail(self, asked: Asked, error: Exception) -> None:
        refusal = refusal_of(error)
        failure = pb.Failure(
            code=refusal.code.value[0],
            message=refusal.message,
            pushback_milliseconds=refusal.pushback_ms,
        )
        self._put(pb.StreamedAnswer(id=asked.id, failure=failure))
        self._end(asked, refusal.code)

    def _put(self, answer: pb.StreamedAnswer) -> None:
        self._ready.append(pb.SynthesizeStreamResponse(answers=[answer]).SerializeToString())
        self._wake_writer.set()

    def _end(self, asked: Asked, code: grpc.StatusCode) -> None:
        self._open.discard(asked)
        asked.call.ends(code)

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
            self._writing = len(parts)
            await self._context.write(b"".join(parts))
            self._writing = 0
            self._moved.set()
