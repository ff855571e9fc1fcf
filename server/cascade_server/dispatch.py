"""From a plan to drawn tokens: admit, route, queue, run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
from cascade_tables.sampling import TeacherRows
from numpy.typing import NDArray

from cascade_server.admission import (
    Limit,
    LimitConfig,
    ServiceClass,
    admits,
    pushback_ms,
    updated,
)
from cascade_server.config import ServerConfig
from cascade_server.engine import Engine
from cascade_server.errors import DeadlinePassed, TooMuch
from cascade_server.repository import Repository
from cascade_server.router import Option, Tier, choose
from cascade_server.runtime import Runtime
from cascade_server.synthesis import DRAW, Drawn, Generation, Plan, stream
from cascade_server.tasks import StudentTask, TeacherTask, run_student, run_teacher

# Rows of one task: larger requests go in parts, so that memory is bounded and others get a turn.
STUDENT_PART = 1024
TEACHER_PART = 256


class Engines:
    """A release's two engines.

    The teacher never runs in the event loop: one of its passes takes as long as a whole real-time
    request.
    """

    def __init__(
        self,
        runtime: Runtime,
        config: ServerConfig,
        student: ThreadPoolExecutor,
        teacher: ThreadPoolExecutor,
    ) -> None:
        self.student: Engine[StudentTask] = Engine(
            partial(run_student, runtime), student, config.inline_rows
        )
        self.teacher: Engine[TeacherTask] = Engine(
            partial(run_teacher, runtime),
            teacher,
            inline_rows=0,
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, TEACHER_PART),
        )
        models = {Tier.STUDENT: self.student.model, Tier.TEACHER: self.teacher.model}
        for tier, rows, seconds in runtime.profile:
            models[Tier(tier)].observe(rows, seconds)


class Gate:
    """Counts who is inside, and learns how many may be."""

    def __init__(
        self, config: LimitConfig | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.config = config or LimitConfig()
        self.limit = Limit(self.config.initial)
        self.inside = dict.fromkeys(ServiceClass, 0)
        self.refused = 0
        self._clock = clock

    @contextmanager
    def enter(self, service: ServiceClass) -> Iterator[None]:
        """Be inside while the block runs.

        Raises:
            TooMuch: the server is full for this class; says when to come back.
        """
        if not admits(self.limit, self.config, self.inside, service):
            self.refused += 1
            inside = sum(self.inside.values())
            raise TooMuch(
                f"{inside} requests are inside, and the server takes {int(self.limit.value)} now",
                pushback_ms=pushback_ms(self.limit, inside),
            )
        began = self._clock()
        self.inside[service] += 1
        try:
            yield
        finally:
            if service is ServiceClass.REALTIME:
                seconds = max(self._clock() - began, 1e-6)
                self.limit = updated(self.limit, self.config, seconds, sum(self.inside.values()))
            self.inside[service] -= 1


class Dispatcher:
    """Draws what plans ask for, from the engines of a repository's releases."""

    def __init__(self, repository: Repository, config: ServerConfig) -> None:
        # A thread each: ONNX Runtime and NumPy let go of the interpreter while they compute.
        self.student_thread = ThreadPoolExecutor(1, "student")
        self.teacher_thread = ThreadPoolExecutor(1, "teacher")
        self.gate = Gate()
        self.engines = {
            runtime: Engines(runtime, config, self.student_thread, self.teacher_thread)
            for versions in repository.tables.values()
            for runtime in versions.values()
        }

    def close(self) -> None:
        """Let go of the threads; work that has not started is dropped."""
        self.student_thread.shutdown(wait=False, cancel_futures=True)
        self.teacher_thread.shutdown(wait=False, cancel_futures=True)

    def options(self, job: Plan) -> tuple[Option, ...]:
        """Ways to answer, highest fidelity first, with what each is predicted to take now.

        The teacher in fewer passes is none of them: it is slower than the student and further from
        the data; see docs/adr/0004.
        """
        engines = self.engines[job.runtime]
        full = max(1, job.runtime.passes(job.encoded.observed))
        return (
            Option(Tier.TEACHER, full, engines.teacher.predict(job.total, full)),
            Option(Tier.STUDENT, 1, engines.student.predict(job.total)),
        )

    async def draw(self, job: Plan) -> Drawn:
        """Route a plan, and wait until its rows are drawn.

        Raises:
            DeadlinePassed: nothing that is allowed would be in time, or was.
            TooMuch: the server is full.
        """
        with self.gate.enter(ServiceClass.REALTIME):
            route = choose(self.options(job), job.work.remaining(), job.wanted)
            if route.option is None:
                raise DeadlinePassed(f"refused before it was late: {route.reason}")
            likelihood = None
            if job.log_likelihood:
                likelihood = await self._log_likelihood(job)
            tokens, observed = job.completed()
            rng = stream(job.seed, DRAW)
            if route.option.tier is Tier.STUDENT:
                drawn, queued = await self._student(job, tokens, observed, rng)
            else:
                drawn, queued = await self._teacher(
                    job.runtime, tokens, observed, rng, route.option.steps, job.work.deadline
                )
            return Drawn(drawn, route.option, route, likelihood, queued, time.perf_counter())

    async def draw_chunk(self, job: Generation, index: int) -> tuple[NDArray[np.int32], int]:
        """Tokens of one message of `Generate`, as offline work; also the passes they took."""
        with self.gate.enter(ServiceClass.OFFLINE):
            tokens, observed = job.part(index)
            steps = job.runtime.passes(observed)
            drawn, _ = await self._teacher(
                job.runtime,
                tokens,
                observed,
                stream(job.seed, DRAW, index),
                steps,
                job.work.deadline,
                offline=True,
            )
            return drawn, steps

    async def _student(
        self,
        job: Plan,
        tokens: NDArray[np.int32],
        observed: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.int32], float]:
        engine, width = self.engines[job.runtime].student, job.runtime.student_noise
        parts, queued = [], 0.0
        for at in range(0, len(tokens), STUDENT_PART):
            part = slice(at, at + STUDENT_PART)
            noise = rng.random((len(tokens[part]), width), dtype=np.float32)
            task = StudentTask(tokens[part], observed[part], noise)
            queued += await engine.submit(task, job.work.deadline)
            assert task.drawn is not None
            parts.append(task.drawn)
        return (parts[0] if len(parts) == 1 else np.concatenate(parts)), queued

    async def _teacher(
        self,
        runtime: Runtime,
        tokens: NDArray[np.int32],
        observed: NDArray[np.bool_],
        rng: np.random.Generator,
        steps: int,
        deadline: float,
        offline: bool = False,
    ) -> tuple[NDArray[np.int32], float]:
        engine, width = self.engines[runtime].teacher, runtime.teacher_noise
        parts, queued = [], 0.0
        for at in range(0, len(tokens), TEACHER_PART):
            part = slice(at, at + TEACHER_PART)
            noise = rng.random((len(tokens[part]), width), dtype=np.float32)
            rows = TeacherRows(
                tokens[part], observed[part], noise, runtime.layout.column, max(1, steps)
            )
            queued += await engine.submit(TeacherTask(rows), deadline, offline)
            parts.append(rows.tokens)
        return (parts[0] if len(parts) == 1 else np.concatenate(parts)), queued

    async def _log_likelihood(self, job: Plan) -> NDArray[np.float64]:
        def score() -> NDArray[np.float64]:
            job.work.check()
            return job.runtime.log_likelihood(job.encoded.tokens, job.encoded.observed)

        return await asyncio.get_running_loop().run_in_executor(self.teacher_thread, score)
