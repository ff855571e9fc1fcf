"""A release's student and teacher, as requests are drawn with them: in parts, or together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from cascade_server.cascade.request import CheckedRequest
from cascade_server.engines.noise import NoiseSource, StreamNoise
from cascade_server.engines.philox import Uniform
from cascade_server.engines.runtime import Mask, Noise, Runtime, Tokens
from cascade_server.engines.student import Student
from cascade_server.engines.tasks import StudentTask
from cascade_server.engines.teacher import Teacher, TeacherInput

# Rows of one task: larger requests go in parts, so that memory is bounded and others get a turn.
STUDENT_PART = 1024


class ReleaseEngines:
    """Draws with a release's networks.

    Args:
        runtime: of the release.
        inline_rows: that the student may be given in the event loop.
        student, teacher: its engines.
    """

    def __init__(
        self, runtime: Runtime, inline_rows: int, student: Student, teacher: Teacher
    ) -> None:
        self.student, self.teacher = student, teacher
        self._runtime = runtime
        self._noise = np.empty((inline_rows, runtime.student_noise), np.float32)

    def draw_now(self, requests: Sequence[CheckedRequest]) -> list[Tokens]:
        """Draw requests with one run of the student, in the event loop, which has to be
        `free_for` their rows.

        Returns:
            int32 [total, T] of each.
        """
        ends = list(accumulate(request.total for request in requests))
        noise = self._noise[: ends[-1]]
        parts = [slice(end - each.total, end) for each, end in zip(requests, ends, strict=True)]
        for request, part in zip(requests, parts, strict=True):
            request.rng.random(dtype=np.float32, out=noise[part])
        given = [request.completed() for request in requests]
        tokens, observed = given[0]
        if len(given) > 1:
            tokens, observed = (np.concatenate(each) for each in zip(*given, strict=True))
        task = StudentTask(tokens, observed, noise)
        self.student.run_now((task,))
        assert task.drawn is not None
        return [task.drawn[part] for part in parts]

    async def draw_with_student(
        self, tokens: Tokens, observed: Mask, noise: NoiseSource, deadline: float, offline: bool
    ) -> tuple[Tokens, float]:
        """Wait until the student has completed rows.

        Returns:
            int32 [n, T], and the seconds that they waited.

        Raises:
            DeadlinePassed: before they were done.
        """
        parts, queued = [], 0.0
        for first in range(0, len(tokens), STUDENT_PART):
            part = slice(first, first + STUDENT_PART)
            mine = noise((len(tokens[part]), self._runtime.student_noise))
            task = StudentTask(tokens[part], observed[part], mine)
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
    ) -> tuple[Tokens, float]:
        """Likewise, with the teacher in `steps` passes at most."""
        teacher, runtime = self.teacher, self._runtime
        parts, queued = [], 0.0
        for first in range(0, len(tokens), teacher.most_rows):
            part = slice(first, first + teacher.most_rows)
            shape = (len(tokens[part]), runtime.teacher_noise)
            mine: Noise | Uniform
            if runtime.makes_noise and isinstance(noise, StreamNoise):
                mine = noise.later(shape)
            else:
                mine = noise(shape)
            given = TeacherInput(tokens[part], observed[part], mine, max(1, steps))
            drawn, waited = await teacher.draw(given, deadline, offline)
            queued += waited
            parts.append(drawn)
        return _joined(parts), queued


def _joined(parts: list[Tokens]) -> Tokens:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
