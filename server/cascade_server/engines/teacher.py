"""The interface of a release's teacher, and the teacher that runs in this process.

`teacher_link` has the teacher that runs in a process of its own, `triton` the one on Triton
servers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Protocol

import numpy as np
from cascade_tables.sampling import TeacherRows
from numpy.typing import NDArray

from cascade_server.deadline import Work, bounded
from cascade_server.engines.engine import Engine, EngineStatistics, never_rests
from cascade_server.engines.philox import Uniform
from cascade_server.engines.runtime import Mask, Noise, Runtime, Tokens
from cascade_server.engines.spent import Spent
from cascade_server.engines.tasks import SeededTask, TeacherTask, run_teacher
from cascade_server.telemetry.trace_context import TraceContext
from cascade_server.terms import Tier

AWAY = "the teacher's process is away; it is being started again"
# Seconds without a request after which a teacher measures its passes again.
MEASURE_SECONDS = 20.0
# The most passes of one row in a measurement. It ends when the predicted seconds of a pass are at
# most this many times the measured ones.
MOST_MEASURED, FAR_LESS = 256, 2.0
# A measurement ends with one pass of more rows; these sizes take turns.
MEASURED_ROWS = (16, 256)
BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class TeacherInput:
    """Rows for the teacher to complete.

    Attributes:
        tokens: int32 [n, T], n <= the teacher's `most_rows`.
        observed: bool [n, T], which tokens are known.
        noise: uniform float32 [n, teacher_noise]; for a runtime that `makes_noise`, the location of
            these numbers in the stream of a seed.
        steps: the most passes.
        alone: whether no other rows may share the passes. The number of rows in a pass may change
            the last bit of a probability and so, once in many millions, a draw. An interrupted job
            must write the same bytes again when it resumes, so its rows are drawn alone.
        inside: the stage of the call that needs the rows; None if the call is not traced.
        spent: the account that the passes are charged to.
    """

    tokens: Tokens
    observed: Mask
    noise: Noise | Uniform
    steps: int
    alone: bool = False
    inside: TraceContext | None = None
    spent: Spent = field(default_factory=Spent, compare=False)


class Teacher(Protocol):
    """Draws rows of several requests together, pass by pass.

    Attributes:
        most_rows: the most rows of one input; larger requests are sent in parts.
    """

    most_rows: int

    async def draw(
        self, given: TeacherInput, deadline: float, offline: bool = False
    ) -> tuple[Tokens, float]:
        """Complete rows.

        Args:
            given: the rows.
            deadline: seconds on the clock of deadlines; infinite if there is none.
            offline: whether real-time rows go first.

        Returns:
            int32 [n, T], and the seconds that the rows waited before their first pass.

        Raises:
            DeadlinePassed: the deadline passed before the rows were done.
            NotReady: the teacher cannot be reached.
        """

    async def log_likelihood(
        self, tokens: Tokens, observed: Mask, deadline: float, spent: Spent | None = None
    ) -> NDArray[np.float64]:
        """Return ln p(observed) of each row, float64 [n] in nats; raises as `draw`.

        Args:
            tokens, observed: int32 and bool [n, T].
            deadline: seconds on the clock of deadlines; infinite if there is none.
            spent: the account that the work is charged to; None for no account.
        """

    def predict(self, rows: int, passes: int) -> float:
        """Predict the seconds for rows and passes, queue included, at the .99 quantile.

        The prediction is infinite while the teacher cannot be reached.
        """

    def statistics(self) -> EngineStatistics:
        """Return counts of past runs and of waiting requests."""

    def away(self) -> str:
        """Return why predictions are infinite, for the caller."""


class LocalTeacher:
    """A teacher in a thread of this process: in the event loop, a pass would delay every request.

    Args:
        runtime: the release's runtime.
        executor: has one thread.
        processor_clock: measures the processor time of passes; see `Engine`.
        pace: slows jobs down; see `Engine`.
    """

    def __init__(
        self,
        runtime: Runtime,
        executor: Executor,
        processor_clock: Callable[[], float] = time.thread_time,
        pace: Callable[[float], float] = never_rests,
    ) -> None:
        self._runtime, self._executor = runtime, executor
        self._processor_clock = processor_clock
        self._measured_rows = cycle(MEASURED_ROWS)
        self.most_rows = runtime.teacher_part
        buckets = tuple(rows for rows in BUCKETS if rows <= runtime.teacher_part)
        self.engine: Engine[TeacherTask | SeededTask] = Engine(
            partial(run_teacher, runtime),
            executor,
            inline_rows=0,
            buckets=buckets,
            processor_clock=processor_clock,
            on_gpu=runtime.on_gpu,
            pace=pace,
        )
        for tier, rows, seconds in runtime.profile:
            if tier == Tier.TEACHER:
                self.engine.model.observe(rows, seconds)

    async def draw(
        self, given: TeacherInput, deadline: float, offline: bool = False
    ) -> tuple[Tokens, float]:
        runtime = self._runtime
        noise = given.noise
        if isinstance(noise, Uniform) and not runtime.makes_noise:
            noise = noise.array()
        if isinstance(noise, Uniform):
            passes = min(given.steps, runtime.passes(given.observed))
            seeded = SeededTask(
                given.tokens, given.observed, noise, given.steps, passes, spent=given.spent
            )
            queued = await self.engine.submit(seeded, deadline, offline, given.alone)
            assert seeded.drawn is not None
            return seeded.drawn, queued
        rows = TeacherRows(given.tokens, given.observed, noise, runtime.layout, given.steps)
        task = TeacherTask(rows, runtime.whole_passes, given.spent)
        queued = await self.engine.submit(task, deadline, offline, given.alone)
        return rows.tokens, queued

    async def measure(self, within: float) -> None:
        """Make passes for no request, to learn again how long a pass takes.

        It makes passes of one row until the prediction is close to what they take, usually one;
        then one of more rows, of another size each time. All other rows go first.

        Args:
            within: seconds that the measurement may take.

        Raises:
            DeadlinePassed: the passes did not get their turn.
        """
        engine = self.engine
        deadline = engine.clock() + within
        for _ in range(MOST_MEASURED):
            before = engine.statistics()
            await self._draw_nothing(1, deadline)
            after = engine.statistics()
            took = (after.run_nanoseconds - before.run_nanoseconds) / 1e9
            if engine.model.mean(1) <= FAR_LESS * took / (after.runs - before.runs):
                break
        rows = next(self._measured_rows)
        await self._draw_nothing(min(rows, self.most_rows), deadline)

    async def _draw_nothing(self, rows: int, deadline: float) -> None:
        """Make one pass over rows with no known columns."""
        tokens = np.zeros((rows, self._runtime.slots), np.int32)
        noise = np.full((rows, self._runtime.teacher_noise), 0.5, np.float32)
        nothing = TeacherInput(tokens, np.zeros(tokens.shape, np.bool_), noise, steps=1)
        await self.draw(nothing, deadline, offline=True)

    async def log_likelihood(
        self, tokens: Tokens, observed: Mask, deadline: float, spent: Spent | None = None
    ) -> NDArray[np.float64]:

        def score() -> NDArray[np.float64]:
            Work(deadline).check()
            began, used = time.monotonic(), self._processor_clock()
            found = self._runtime.log_likelihood(tokens, observed)
            if spent is not None:
                on_gpu = time.monotonic() - began if self._runtime.on_gpu else 0.0
                spent.add(self._processor_clock() - used, on_gpu)
            return found

        # The thread may be busy with another pass: wait no longer than the deadline.
        async with bounded(deadline):
            return await asyncio.get_running_loop().run_in_executor(self._executor, score)

    def predict(self, rows: int, passes: int) -> float:
        return self.engine.predict(rows, passes)

    def statistics(self) -> EngineStatistics:
        return self.engine.statistics()

    def away(self) -> str:
        return AWAY
