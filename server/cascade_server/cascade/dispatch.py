"""From a plan to drawn tokens: admit, route, queue, run."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import accumulate

import numpy as np
from cascade_proto import synthesis_pb2 as pb
from numpy.typing import NDArray

from cascade_server.cascade.admission import LimitConfig
from cascade_server.cascade.gate import Gate
from cascade_server.cascade.generate_job import Chunk, GenerateJob
from cascade_server.cascade.pace import Pace
from cascade_server.cascade.repository import Repository
from cascade_server.cascade.router import Option, Route, choose, patience
from cascade_server.cascade.stepping import Stepping
from cascade_server.cascade.synthesis import Drawn, Plan
from cascade_server.cascade.token_draw import TokenDraw
from cascade_server.config import ServerConfig
from cascade_server.engines.noise import NoiseSource, StreamNoise, noise_of, stream
from cascade_server.engines.philox import Uniform
from cascade_server.engines.runtime import Mask, Noise, Runtime, Tokens
from cascade_server.engines.student import Student, local_student
from cascade_server.engines.tasks import StudentTask
from cascade_server.engines.teacher import LocalTeacher, Teacher, TeacherInput
from cascade_server.errors import DeadlinePassed, NotReady
from cascade_server.objectives.objective import promised
from cascade_server.objectives.report import Report
from cascade_server.terms import Priority, Tier, Wanted

# Rows of one task: larger requests go in parts, so that memory is bounded and others get a turn.
STUDENT_PART = 1024


class Engines:
    """A release's student and teacher.

    Attributes:
        noise: room for what the student is given in the event loop, [inline_rows, student_noise].
    """

    def __init__(
        self,
        runtime: Runtime,
        config: ServerConfig,
        student: Student,
        teacher: Teacher,
    ) -> None:
        self.student, self.teacher = student, teacher
        self.noise = np.empty((config.inline_rows, runtime.student_noise), np.float32)


class Dispatcher:
    """Draws what plans ask for, from the engines of a repository's releases.

    Args:
        repository, config: what is served, and how.
        report: how the objectives are doing.
        teachers: a release's teacher; None: each has one in a thread of this process.
        students: likewise; None: each has one in this process, in the event loop where it is fast.
    """

    def __init__(
        self,
        repository: Repository,
        config: ServerConfig,
        report: Callable[[], Report],
        teachers: Callable[[Runtime], Teacher] | None = None,
        students: Callable[[Runtime], Student] | None = None,
    ) -> None:
        # A thread each: ONNX Runtime and NumPy let go of the interpreter while they compute.
        self.student_thread = ThreadPoolExecutor(1, "student")
        self._teacher_thread = ThreadPoolExecutor(1, "teacher")
        teacher_of = teachers or partial(LocalTeacher, executor=self._teacher_thread)
        student_of = students or partial(
            local_student, executor=self.student_thread, inline_rows=config.inline_rows
        )
        # All workers ask one process for the teacher; where other servers run all networks, what a
        # worker has sent them is its own.
        self._shares_teacher = teachers is not None and students is None
        self.stepping = Stepping(report)
        self._promised = promised(each.objective for each in report().statuses)
        tightest = min(self._promised.values(), default=math.inf)
        self.gate = Gate(LimitConfig(promised=tightest))
        self.pace = Pace()
        # Requests that the teacher was too slow for, against its own prediction.
        self.overtaken = 0
        # When `Generate` last drew, on the clock of deadlines.
        self.last_offline = -math.inf
        self.engines = {
            runtime: Engines(runtime, config, student_of(runtime), teacher_of(runtime))
            for versions in repository.tables.values()
            for runtime in versions.values()
        }

    def close(self) -> None:
        """Let go of the threads; work that has not started is dropped."""
        self.stepping.stop()
        self.student_thread.shutdown(wait=False, cancel_futures=True)
        self._teacher_thread.shutdown(wait=False, cancel_futures=True)

    def statistics(self) -> pb.GetStatisticsResponse:
        """What waits, what has been run, how many may be inside."""
        out = pb.GetStatisticsResponse(
            inside=sum(self.gate.inside.values()),
            limit=int(self.gate.limit.value),
            refused=self.gate.refused,
            steps_down=self.stepping.steps,
            overtaken=self.overtaken,
        )
        for runtime, engines in self.engines.items():
            manifest = runtime.release.manifest
            for tier, found, shared in (
                (pb.TIER_STUDENT, engines.student.statistics(), False),
                (pb.TIER_TEACHER, engines.teacher.statistics(), self._shares_teacher),
            ):
                out.engines.add(
                    table=manifest.table,
                    version=manifest.version,
                    tier=tier,
                    shared=shared,
                    **asdict(found),
                )
        return out

    def options(self, job: Plan) -> tuple[Option, ...]:
        """Ways to answer, highest fidelity first, with what each is predicted to take now.

        The teacher in fewer passes is none of them: it is slower than the student and further from
        the data; see docs/adr/0004.
        """
        engines = self.engines[job.runtime]
        student = Option(Tier.STUDENT, 1, engines.student.predict(job.total))
        if job.wanted is Wanted.FAST and not job.explain:
            return (student,)
        full = max(1, job.runtime.passes(job.encoded.observed))
        seconds = engines.teacher.predict(job.total, full)
        return Option(Tier.TEACHER, full, seconds, crowded=self.gate.crowded()), student

    def route(self, job: Plan) -> Route:
        """Choose who is to draw for a plan."""
        table = job.runtime.release.manifest.table
        return choose(
            self.options(job),
            job.work.remaining(),
            job.wanted,
            self.stepping.down(table),
            self._promised.get(table, math.inf),
        )

    async def draw(self, job: Plan, route: Route | None = None) -> Drawn:
        """Route a plan, unless that was done, and wait until its rows are drawn.

        Raises:
            DeadlinePassed: nothing that is allowed would be in time, or was.
            TooMuch: the server is full.
        """
        service = Priority.OFFLINE if job.offline else Priority.REALTIME
        self.gate.enter(service)
        seconds = None
        try:
            route = route or self.route(job)
            if route.option is None:
                if all(math.isinf(option.seconds) for option in route.allowed):
                    raise NotReady(self.engines[job.runtime].teacher.away())
                raise DeadlinePassed(f"refused before it was late: {route.reason}")
            likelihood = None
            if job.log_likelihood:
                teacher = self.engines[job.runtime].teacher
                likelihood = await teacher.log_likelihood(
                    job.encoded.tokens, job.encoded.observed, job.work.deadline
                )
            option = route.option
            given, until = job.completed(), (job.work.deadline, job.offline)
            if option.tier is Tier.STUDENT:
                drawn, queued = await self._student(job.runtime, *given, noise_of(job.rng), *until)
            else:
                try:
                    with self.gate.waits_for_teacher(service):
                        async with asyncio.timeout(_or_none(patience(route))):
                            drawn, queued = await self._teacher(
                                job.runtime, *given, noise_of(job.rng), option.steps, *until
                            )
                except TimeoutError:
                    # As if it had been routed there: the same rows for a seed.
                    self.overtaken += 1
                    option, job.rng = route.allowed[-1], stream(job.seed)
                    route = route._replace(option=option, overtaken=True)
                    rng = noise_of(job.rng)
                    drawn, queued = await self._student(job.runtime, *given, rng, *until)
            finished = time.perf_counter()
            alone = option.tier is Tier.STUDENT and job.total == 1 and likelihood is None
            if alone and not job.offline:
                seconds = finished - job.began
            return Drawn(drawn, option, route, likelihood, queued, finished)
        finally:
            if job.offline:
                self.last_offline = time.monotonic()
            self.gate.leave(service, seconds)

    async def draw_tokens(self, ask: TokenDraw) -> Tokens:
        """Complete tokens with the model that was named.

        Returns:
            int32 [n, T].

        Raises:
            DeadlinePassed: it would not be in time, or was not.
            TooMuch: the server is full.
            NotReady: the teacher's process is away.
        """
        service = Priority.OFFLINE if ask.offline else Priority.REALTIME
        self.gate.enter(service)
        try:
            engines, rows = self.engines[ask.runtime], len(ask.tokens)
            is_student = ask.tier is Tier.STUDENT
            steps = 1 if is_student else max(1, ask.steps)
            predicted = (
                engines.student.predict(rows)
                if is_student
                else engines.teacher.predict(rows, steps)
            )
            if math.isinf(predicted):
                raise NotReady(engines.teacher.away())
            option, remaining = Option(ask.tier, steps, predicted), ask.work.remaining()
            if (route := choose((option,), remaining, Wanted.FULL)).option is None:
                raise DeadlinePassed(f"refused before it was late: {route.reason}")
            given, until = (ask.runtime, ask.tokens, ask.observed, ask.noise), ask.work.deadline
            if is_student:
                drawn, _ = await self._student(*given, until, ask.offline)
            else:
                drawn, _ = await self._teacher(*given, steps, until, ask.offline)
            return drawn
        finally:
            if ask.offline:
                self.last_offline = time.monotonic()
            self.gate.leave(service)

    async def score_tokens(self, ask: TokenDraw) -> NDArray[np.float64]:
        """ln p(observed) of each row, in nats, from the teacher; raises as `draw_tokens`."""
        service = Priority.OFFLINE if ask.offline else Priority.REALTIME
        self.gate.enter(service)
        try:
            teacher = self.engines[ask.runtime].teacher
            return await teacher.log_likelihood(ask.tokens, ask.observed, ask.work.deadline)
        finally:
            self.gate.leave(service)

    def draw_now(self, jobs: Sequence[Plan]) -> list[Drawn | None]:
        """Draw plans that came together, those that the student can draw in the event loop.

        Returns:
            What was drawn, by plan; None: `draw` is to be awaited, or will tell what is wrong.
        """
        out: list[Drawn | None] = [None] * len(jobs)
        together: dict[Runtime, list[tuple[int, Plan, Route]]] = {}
        self.gate.behind = self.pace.behind(len(jobs))
        for at, job in enumerate(jobs[: self.gate.room()]):
            if job.log_likelihood or job.offline or job.wanted is Wanted.FULL:
                continue
            route = self.route(job)
            if route.option is not None and route.option.tier is Tier.STUDENT:
                together.setdefault(job.runtime, []).append((at, job, route))
        for runtime, chosen in together.items():
            engine = self.engines[runtime].student
            while chosen and not engine.free_for(sum(job.total for _, job, _ in chosen)):
                chosen.pop()
            if not chosen:
                continue
            drawn = self._run_now(runtime, [job for _, job, _ in chosen])
            finished = time.perf_counter()
            for (at, _, route), tokens in zip(chosen, drawn, strict=True):
                assert route.option is not None
                out[at] = Drawn(tokens, route.option, route, None, 0.0, finished)
        return out

    def _run_now(self, runtime: Runtime, jobs: Sequence[Plan]) -> list[NDArray[np.int32]]:
        """Draw plans with one run of the student, in the event loop."""
        ends = list(accumulate(job.total for job in jobs))
        noise = self.engines[runtime].noise[: ends[-1]]
        parts = [slice(end - job.total, end) for job, end in zip(jobs, ends, strict=True)]
        for job, part in zip(jobs, parts, strict=True):
            job.rng.random(dtype=np.float32, out=noise[part])
        given = [job.completed() for job in jobs]
        tokens, observed = given[0]
        if len(given) > 1:
            tokens, observed = (np.concatenate(each) for each in zip(*given, strict=True))
        task = StudentTask(tokens, observed, noise)
        self.engines[runtime].student.run_now((task,))
        assert task.drawn is not None
        return [task.drawn[part] for part in parts]

    async def draw_chunk(self, job: GenerateJob, index: int) -> Chunk:
        """Draw one message of `Generate`, as offline work, once there is a place for it.

        Raises:
            TooMuch: it is the first of its stream, and too many others wait for a place.
            DeadlinePassed: before it was drawn.
            NotReady: the teacher's process is away.
        """
        began = time.perf_counter()
        await self.gate.wait_to_enter(Priority.OFFLINE, is_new=index == job.chunks.start)
        try:
            tokens, observed = job.known(index)
            steps, rng = job.runtime.passes(observed), stream(job.seed, index)
            deadline = job.work.deadline
            drawn, _ = await self._teacher(
                job.runtime, tokens, observed, noise_of(rng), steps, deadline, offline=True
            )
            return Chunk(index, drawn, rng, steps, time.perf_counter() - began)
        finally:
            self.last_offline = time.monotonic()
            self.gate.leave(Priority.OFFLINE)

    async def draw_ahead(self, runtime: Runtime, given: TeacherInput) -> NDArray[np.int32]:
        """Have the teacher draw rows that nobody waits for; it is offline work, with no deadline.

        It passes the gate by: whoever calls this sees to it that nothing else is to be done.
        """
        drawn, _ = await self.engines[runtime].teacher.draw(given, math.inf, offline=True)
        return drawn

    async def _student(
        self,
        runtime: Runtime,
        tokens: Tokens,
        observed: Mask,
        noise: NoiseSource,
        deadline: float,
        offline: bool,
    ) -> tuple[Tokens, float]:
        engine, width = self.engines[runtime].student, runtime.student_noise
        parts, queued = [], 0.0
        for at in range(0, len(tokens), STUDENT_PART):
            part = slice(at, at + STUDENT_PART)
            mine = noise((len(tokens[part]), width))
            task = StudentTask(tokens[part], observed[part], mine)
            queued += await engine.submit(task, deadline, offline)
            assert task.drawn is not None
            parts.append(task.drawn)
        return (parts[0] if len(parts) == 1 else np.concatenate(parts)), queued

    async def _teacher(
        self,
        runtime: Runtime,
        tokens: Tokens,
        observed: Mask,
        noise: NoiseSource,
        steps: int,
        deadline: float,
        offline: bool,
    ) -> tuple[Tokens, float]:
        teacher, width = self.engines[runtime].teacher, runtime.teacher_noise
        parts, queued = [], 0.0
        for at in range(0, len(tokens), teacher.most_rows):
            part = slice(at, at + teacher.most_rows)
            shape = (len(tokens[part]), width)
            mine: Noise | Uniform
            if runtime.makes_noise and isinstance(noise, StreamNoise):
                mine = noise.later(shape)
            else:
                mine = noise(shape)
            given = TeacherInput(tokens[part], observed[part], mine, max(1, steps))
            drawn, waited = await teacher.draw(given, deadline, offline)
            queued += waited
            parts.append(drawn)
        return (parts[0] if len(parts) == 1 else np.concatenate(parts)), queued


def _or_none(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds
