"""Runs a release's student and teacher: splits large requests, and batches small ones."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import accumulate

import numpy as np

from cascade_server.cascade.request import CheckedRequest
from cascade_server.deadline import bounded
from cascade_server.engines.noise import NoiseSource, StreamNoise
from cascade_server.engines.philox import Uniform
from cascade_server.engines.runtime import Mask, Noise, Runtime, Tokens
from cascade_server.engines.spent import Spent
from cascade_server.engines.student import Student
from cascade_server.engines.student_noise import UNREAD
from cascade_server.engines.tasks import StudentTask
from cascade_server.engines.teacher import Teacher, TeacherInput
from cascade_server.engines.watched_teacher import WatchedTeacher

# Rows of one task of the student: larger requests are split, so that memory is bounded and other
# requests get a turn.
STUDENT_PART = 1024
# Parts of offline work that one process may prepare for the teacher at once. A part with its noise
# takes several megabytes, and more parts than keep the teacher busy would only wait.
OFFLINE_PARTS = 6


def in_groups(rows: Sequence[int], most: int) -> Iterator[slice]:
    """Group consecutive requests, up to `most` rows each; a larger request is a group alone.

    Args:
        rows: number of rows of each request.
        most: most rows of a group.
    """
    start = total = 0
    for place, each in enumerate(rows):
        if place > start and total + each > most:
            yield slice(start, place)
            start, total = place, 0
        total += each
    if rows:
        yield slice(start, len(rows))


class RowLimiter:
    """Bounds the rows prepared for the teacher at once; further parts wait in order.

    Args:
        most: most rows at once.
    """

    def __init__(self, most: int) -> None:
        self._most, self._rows = most, 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def rows(self, count: int) -> AsyncIterator[None]:
        """Hold room for `count` rows until the block ends; more than `most` only while alone."""
        if self._waiting or not self._fit(count):
            await self._wait(count)
        else:
            self._rows += count
        try:
            yield
        finally:
            self._end(count)

    def _fit(self, count: int) -> bool:
        return not self._rows or self._rows + count <= self._most

    async def _wait(self, count: int) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                # `_let_in` may already have removed it, if another part ended at the same moment.
                if (count, turn) in self._waiting:
                    self._waiting.remove((count, turn))
                self._let_in()
            else:  # the room was granted at the same moment
                self._end(count)
            raise

    def _end(self, count: int) -> None:
        self._rows -= count
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._fit(self._waiting[0][0]):
            count, turn = self._waiting.popleft()
            if not turn.done():
                self._rows += count
                turn.set_result(None)


class ReleaseEngines:
    """Draws with a release's networks.

    Args:
        runtime: the release, loaded.
        inline_rows: rows that the student may draw at once in the event loop.
        student, teacher: the engines that run the two networks.

    Attributes:
        student, teacher: as above.
        watched: the teacher, wrapped to report why it is unavailable; all draws go through it.
    """

    def __init__(
        self, runtime: Runtime, inline_rows: int, student: Student, teacher: Teacher
    ) -> None:
        self.student, self.teacher = student, teacher
        manifest = runtime.release.manifest
        self.watched = WatchedTeacher(teacher, f"{manifest.table} version {manifest.version}")
        self._runtime = runtime
        self._offline = RowLimiter(OFFLINE_PARTS * teacher.most_rows)
        self._noise = np.full((inline_rows, runtime.student_noise), UNREAD, np.float32)

    def draw_now(self, requests: Sequence[CheckedRequest]) -> list[Tokens]:
        """Draw requests with one run of the student, in the event loop.

        The student must be `free_for` their rows, which are `inline_rows` at most.

        Returns:
            The tokens of each request, int32 [total, T].
        """
        if len(requests) == 1:
            (request,) = requests
            noise = self._noise[: request.total]
            request.fill_student_noise(noise)
            alone = StudentTask(*request.completed(), noise)
            self.student.run_now((alone,))
            assert alone.drawn is not None
            return [alone.drawn]
        ends = list(accumulate(request.total for request in requests))
        noise = self._noise[: ends[-1]]
        parts = [slice(end - each.total, end) for each, end in zip(requests, ends, strict=True)]
        for request, part in zip(requests, parts, strict=True):
            request.fill_student_noise(noise[part])
        given = [request.completed() for request in requests]
        tokens, observed = given[0]
        if len(given) > 1:
            tokens, observed = (np.concatenate(each) for each in zip(*given, strict=True))
        task = StudentTask(tokens, observed, noise)
        self.student.run_now((task,))
        assert task.drawn is not None
        return [task.drawn[part] for part in parts]

    async def draw_with_student(
        self,
        tokens: Tokens,
        observed: Mask,
        noise: NoiseSource,
        deadline: float,
        offline: bool,
        spent: Spent | None = None,
    ) -> tuple[Tokens, float]:
        """Complete rows with the student, and wait for them.

        Args:
            tokens, observed: int32 and bool [n, T].
            noise: returns the random numbers of the next rows.
            deadline: seconds on the clock of deadlines; infinite: none.
            offline: whether real-time work goes first.
            spent: is charged with the cost; None: not counted.

        Returns:
            int32 [n, T], and the seconds that they waited in the queue.

        Raises:
            DeadlinePassed: the deadline passed before the rows were done.
        """
        parts, queued = [], 0.0
        for first in range(0, len(tokens), STUDENT_PART):
            part = slice(first, first + STUDENT_PART)
            part_noise = noise((len(tokens[part]), self._runtime.student_noise))
            task = StudentTask(tokens[part], observed[part], part_noise, spent=spent or Spent())
            queued += await self.student.submit(task, deadline, offline)
            assert task.drawn is not None
            parts.append(task.drawn)
        return _joined(parts), queued

    async def draw_with_teacher(
        self,
        tokens: Tokens,
        observed: Mask,
        noise: NoiseSource,
        steps: int,
        deadline: float,
        offline: bool,
        spent: Spent | None = None,
    ) -> tuple[Tokens, float]:
        """Complete rows with the teacher in at most `steps` passes; as `draw_with_student`."""
        parts, queued, context = [], 0.0, (deadline, offline, spent or Spent())
        for first in range(0, len(tokens), self.teacher.most_rows):
            part = slice(first, first + self.teacher.most_rows)
            given, known = tokens[part], observed[part]
            if offline:
                async with bounded(deadline), self._offline.rows(len(given)):
                    drawn, waited = await self._draw_part(given, known, noise, steps, *context)
            else:
                drawn, waited = await self._draw_part(given, known, noise, steps, *context)
            queued += waited
            parts.append(drawn)
        return _joined(parts), queued

    async def _draw_part(
        self,
        tokens: Tokens,
        observed: Mask,
        noise: NoiseSource,
        steps: int,
        deadline: float,
        offline: bool,
        spent: Spent,
    ) -> tuple[Tokens, float]:
        runtime, shape = self._runtime, (len(tokens), self._runtime.teacher_noise)
        part_noise: Noise | Uniform
        if runtime.makes_noise and isinstance(noise, StreamNoise):
            part_noise = noise.later(shape)
        else:
            part_noise = noise(shape)
        given = TeacherInput(tokens, observed, part_noise, max(1, steps), spent=spent)
        return await self.watched.draw(given, deadline, offline)


def _joined(parts: list[Tokens]) -> Tokens:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
