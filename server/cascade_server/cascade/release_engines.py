"""A release's student and teacher, as requests are drawn with them: in parts, or together."""

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

# Rows of one task: larger requests go in parts, so that memory is bounded and others get a turn.
STUDENT_PART = 1024
# Parts for the teacher that offline work of one process may have made at once. A part with its
# noise is several megabytes; more of them than keep the teacher busy only wait.
OFFLINE_PARTS = 6


def in_groups(rows: Sequence[int], most: int) -> Iterator[slice]:
    """Requests in their order, in groups of at most `most` rows; a larger one is alone.

    Args:
        rows: of each.
    """
    start = total = 0
    for place, each in enumerate(rows):
        if place > start and total + each > most:
            yield slice(start, place)
            start, total = place, 0
        total += each
    if rows:
        yield slice(start, len(rows))


class Underway:
    """Rows that are inputs of the teacher already, no more than so many at once.

    Who would be one too many waits, behind those who came before.

    Args:
        most: rows.
    """

    def __init__(self, most: int) -> None:
        self._most, self._rows = most, 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def rows(self, count: int) -> AsyncIterator[None]:
        """Have so many under way until the block ends; alone, they may be as many as they are."""
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
                # Unless it has been passed over already, by others who ended at the same moment.
                if (count, turn) in self._waiting:
                    self._waiting.remove((count, turn))
                self._let_in()
            else:  # It was let in at the same moment.
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
        runtime: of the release.
        inline_rows: that the student may be given in the event loop.
        student, teacher: its engines.

    Attributes:
        student, teacher: as above.
        watched: the teacher, as everybody asks it.
    """

    def __init__(
        self, runtime: Runtime, inline_rows: int, student: Student, teacher: Teacher
    ) -> None:
        self.student, self.teacher = student, teacher
        manifest = runtime.release.manifest
        self.watched = WatchedTeacher(teacher, f"{manifest.table} version {manifest.version}")
        self._runtime = runtime
        self._offline = Underway(OFFLINE_PARTS * teacher.most_rows)
        self._noise = np.full((inline_rows, runtime.student_noise), UNREAD, np.float32)

    def draw_now(self, requests: Sequence[CheckedRequest]) -> list[Tokens]:
        """Draw requests with one run of the student, in the event loop, which has to be
        `free_for` their rows.

        Returns:
            int32 [total, T] of each.
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
        """Wait until the student has completed rows.

        Args:
            spent: what is charged for them; None: nobody asks.

        Returns:
            int32 [n, T], and the seconds that they waited.

        Raises:
            DeadlinePassed: before they were done.
        """
        parts, queued = [], 0.0
        for first in range(0, len(tokens), STUDENT_PART):
            part = slice(first, first + STUDENT_PART)
            mine = noise((len(tokens[part]), self._runtime.student_noise))
            task = StudentTask(tokens[part], observed[part], mine, spent=spent or Spent())
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
        """Likewise, with the teacher in `steps` passes at most."""
        parts, queued, until = [], 0.0, (deadline, offline, spent or Spent())
        for first in range(0, len(tokens), self.teacher.most_rows):
            part = slice(first, first + self.teacher.most_rows)
            given, known = tokens[part], observed[part]
            if offline:
                async with bounded(deadline), self._offline.rows(len(given)):
                    drawn, waited = await self._draw_part(given, known, noise, steps, *until)
            else:
                drawn, waited = await self._draw_part(given, known, noise, steps, *until)
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
        mine: Noise | Uniform
        if runtime.makes_noise and isinstance(noise, StreamNoise):
            mine = noise.later(shape)
        else:
            mine = noise(shape)
        given = TeacherInput(tokens, observed, mine, max(1, steps), spent=spent)
        return await self.watched.draw(given, deadline, offline)


def _joined(parts: list[Tokens]) -> Tokens:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
