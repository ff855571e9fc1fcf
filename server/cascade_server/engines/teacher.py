"""A release's teacher, as the dispatcher asks it: in this process, or in one of its own."""

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
# Seconds after which a teacher that nobody asked measures again what its passes take.
MEASURE_SECONDS = 20.0
# A teacher that measures itself makes so many passes at most, until what is expected of one is no
# more than so many times what it takes.
MOST_MEASURED, FAR_LESS = 256, 2.0
# And a pass of more rows, of these sizes in turn.
MEASURED_ROWS = (16, 256)
BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class TeacherInput:
    """Rows for the teacher to complete.

    Attributes:
        tokens, observed: int32 and bool [n, T], n <= `most_rows` of who is asked.
        noise: uniform float32 [n, teacher_noise], or, for a teacher that `makes_noise`, what it is.
        steps: passes at most.
        alone: whether no others are to share the passes. How many rows a pass has may change the
            last bit of a probability, and so, once in many millions, a draw: who makes the same
            rows again, and is to make the same bytes, has them drawn alone.
        inside: the stage of a call that they are drawn for, where it is traced.
        spent: what is charged for them.
    """

    tokens: Tokens
    observed: Mask
    noise: Noise | Uniform
    steps: int
    alone: bool = False
    inside: TraceContext | None = None
    spent: Spent = field(default_factory=Spent, compare=False)


class Teacher(Protocol):
    """Draws rows, pass by pass, of several requests at once.

    Attributes:
        most_rows: of one input; larger requests come in parts.
    """

    most_rows: int

    async def draw(
        self, given: TeacherInput, deadline: float, offline: bool = False
    ) -> tuple[Tokens, float]:
        """Complete rows.

        Returns:
            int32 [n, T], and the seconds that they waited before their first pass.

        Raises:
            DeadlinePassed: before they were done.
            NotReady: the teacher is away.
        """

    async def log_likelihood(
        self, tokens: Tokens, observed: Mask, deadline: float, spent: Spent | None = None
    ) -> NDArray[np.float64]:
        """ln p(observed) of each row, in nats; raises as `draw`.

        Args:
            spent: what is charged for it; None: nobody asks.
        """

    def predict(self, rows: int, passes: int) -> float:
        """The .99 quantile of the seconds that rows would take now; infinite while it is away."""

    def statistics(self) -> EngineStatistics:
        """What has been run and what waits."""

    def away(self) -> str:
        """What to say where predictions are infinite."""


class LocalTeacher:
    """A teacher in this process, in a thread: a pass takes as long as a real-time request.

    Args:
        runtime: of the release.
        executor: has the thread.
        processor_clock: of its passes; see `Engine`.
        pace: of jobs; see `Engine`.
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
        """Make passes for nobody, so that what a pass takes is known anew: of one row one, or,
        where it takes far less than was learnt, some more until that is forgotten; and one of more
        rows, of another size each time.

        Args:
            within: seconds; everyone else's rows come first.

        Raises:
            DeadlinePassed: their turn did not come.
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
        """One pass over rows of which nothing is known."""
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

        # The thread may be at a pass of others meanwhile.
        async with bounded(deadline):
            return await asyncio.get_running_loop().run_in_executor(self._executor, score)

    def predict(self, rows: int, passes: int) -> float:
        return self.engine.predict(rows, passes)

    def statistics(self) -> EngineStatistics:
        return self.engine.statistics()

    def away(self) -> str:
        return AWAY
