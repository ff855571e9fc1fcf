"""Turns checked requests into drawn tokens: admits, routes, queues and runs them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from typing import NamedTuple

import numpy as np
from cascade_proto import synthesis_pb2 as pb
from numpy.typing import NDArray

from cascade_server.cascade.admission import LimitConfig
from cascade_server.cascade.answer import Drawn
from cascade_server.cascade.gate import Gate
from cascade_server.cascade.generate_job import Chunk, GenerateJob
from cascade_server.cascade.probing import Probing, kind_of
from cascade_server.cascade.release_engines import ReleaseEngines, in_groups
from cascade_server.cascade.repository import Repository
from cascade_server.cascade.request import CheckedRequest
from cascade_server.cascade.router import Option, Route, StandInReason, choose, patience
from cascade_server.cascade.stepping import Stepping
from cascade_server.cascade.token_draw import TokenAnswer, TokenDraw
from cascade_server.config import ServerConfig
from cascade_server.deadline import Work
from cascade_server.engines.noise import noise_of, stream
from cascade_server.engines.runtime import Runtime, Tokens
from cascade_server.engines.spent import charge
from cascade_server.engines.student import Student, local_student
from cascade_server.engines.teacher import LocalTeacher, Teacher, TeacherInput
from cascade_server.errors import DeadlinePassed, NotReady, TeacherFailed
from cascade_server.objectives.objective import promised
from cascade_server.objectives.report import Report
from cascade_server.terms import Priority, Tier, Wanted
from cascade_server.wire.model_tensors import LOG_LIKELIHOOD


class _Placed(NamedTuple):
    """A request that the student draws now, and its index among those that came together."""

    place: int
    request: CheckedRequest
    route: Route


class Dispatcher:
    """Draws the rows of requests with the networks of a repository's releases.

    Attributes:
        promised: seconds of the latency objective that AUTO must meet, by table; tables without
            one are missing.

    Args:
        repository: the loaded releases.
        config: the server's configuration.
        report: returns the current state of the objectives.
        teachers: returns a release's teacher; None: each runs in a thread of this process.
        students: returns a release's student; None: each runs in this process, in the event loop
            if a batch is small enough.
    """

    def __init__(
        self,
        repository: Repository,
        config: ServerConfig,
        report: Callable[[], Report],
        teachers: Callable[[Runtime], Teacher] | None = None,
        students: Callable[[Runtime], Student] | None = None,
    ) -> None:
        # One thread each: ONNX Runtime and NumPy release the interpreter while they compute.
        self.student_thread = ThreadPoolExecutor(1, "student")
        self._teacher_thread = ThreadPoolExecutor(1, "teacher")
        teacher_of = teachers or partial(LocalTeacher, executor=self._teacher_thread)
        student_of = students or partial(
            local_student, executor=self.student_thread, inline_rows=config.inline_rows
        )
        # All workers share one teacher process, so its queue is counted once for all. If other
        # servers run both networks, each worker counts what it has sent to them.
        self._shares_teacher = teachers is not None and students is None
        self._inline_rows = config.inline_rows
        self.stepping = Stepping(report)
        self.promised = promised(each.objective for each in report().statuses)
        tightest = min(self.promised.values(), default=math.inf)
        self.gate = Gate(LimitConfig(promised=tightest), queued=self._queued)
        self.probing = Probing()
        # Requests for which the teacher was slower than predicted and too late.
        self.overtaken = 0
        # When `Generate` last drew, on the clock of deadlines.
        self.last_offline = -math.inf
        self.engines = {
            runtime: ReleaseEngines(
                runtime, config.inline_rows, student_of(runtime), teacher_of(runtime)
            )
            for runtime in repository.runtimes
        }

    def close(self) -> None:
        """Stop the threads; drop work that has not started."""
        self.stepping.stop()
        self.student_thread.shutdown(wait=False, cancel_futures=True)
        self._teacher_thread.shutdown(wait=False, cancel_futures=True)

    def statistics(self) -> pb.GetStatisticsResponse:
        """Return this process's counts: requests inside, refusals, engines' queues and batches."""
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

    def _queued(self) -> float:
        """Return the seconds of work waiting for students, which share this process's processor."""
        return sum(engines.student.queued() for engines in self.engines.values())

    def has_teacher(self, runtime: Runtime) -> bool:
        """Return whether a release's teacher is available now."""
        return not math.isinf(self.engines[runtime].watched.predict(1, 1))

    def options(self, request: CheckedRequest) -> tuple[Option, ...]:
        """List the ways to answer a request, highest fidelity first, with predicted seconds.

        A teacher with fewer passes is not among them: it is slower than the student and further
        from the data; see docs/adr/0004.
        """
        engines = self.engines[request.runtime]
        student = Option(Tier.STUDENT, 1, engines.student.predict(request.total))
        if request.wanted is Wanted.FAST and not request.explain:
            return (student,)
        full = max(1, request.runtime.passes(request.encoded.observed))
        seconds = engines.watched.predict(request.total, full)
        return Option(Tier.TEACHER, full, seconds, crowded=self.gate.crowded()), student

    def route(self, request: CheckedRequest) -> Route:
        """Choose the tier that draws for a request; see `router.choose`."""
        table, trace = request.runtime.release.manifest.table, request.trace
        if trace is not None:
            trace.mark("turn")
        options, now = self.options(request), request.work.clock()
        route = choose(
            options,
            request.work.deadline - now,
            request.wanted,
            self.stepping.down(table),
            self.promised.get(table, math.inf),
            now,
        )
        if trace is not None:
            trace.mark("route")
        return route

    async def draw(self, request: CheckedRequest, route: Route | None = None) -> Drawn:
        """Draw the rows of a request, and wait for them.

        Args:
            request: the request.
            route: the route, if already chosen; None: the request is routed now.

        Raises:
            DeadlinePassed: no allowed tier would be in time, or the chosen one was not.
            TooMuch: the server is full.
            NotReady: the teacher's process cannot be reached.
        """
        service = Priority.OFFLINE if request.offline else Priority.REALTIME
        self.gate.enter(service)
        seconds = None
        try:
            route = route or self.route(request)
            if route.option is None:
                with self._trial(route, request.runtime, request.total, request.work) as tried:
                    return await self._draw(request, tried, service)
            drawn = await self._draw(request, route, service)
            # The limit learns only from requests that take equally long on an idle server.
            by_student = drawn.option.tier is Tier.STUDENT and drawn.route.stand_in_reason is None
            is_plain = drawn.log_likelihood is None and not request.offline
            if by_student and is_plain and request.total == 1:
                seconds = drawn.finished - request.began
            return drawn
        finally:
            if request.offline:
                self.last_offline = time.monotonic()
            self.gate.leave(service, seconds)

    @contextmanager
    def _trial(self, route: Route, runtime: Runtime, rows: int, work: Work) -> Iterator[Route]:
        """Occasionally accept work that is predicted to be late; see `Probing`.

        Yields:
            The route of the trial.

        Raises:
            DeadlinePassed: the work is not accepted.
            NotReady: no allowed tier can be reached.
        """
        option = route.cheapest
        if math.isinf(option.seconds):
            raise NotReady(self.engines[runtime].watched.away())
        kind = kind_of(runtime.identity, option.tier, rows)
        if not self.probing.tries(kind, work.clock(), option.seconds, route.remaining):
            raise DeadlinePassed(f"refused before it was late: {route.reason}")
        in_time = False
        try:
            yield route._replace(option=option, probing=True)
            in_time = work.remaining() > 0
        finally:
            self.probing.ended(kind, work.clock(), in_time)

    async def _draw(self, request: CheckedRequest, route: Route, service: Priority) -> Drawn:
        """Draw a request that has entered the gate, by its route; raises as `draw`."""
        engines, option = self.engines[request.runtime], route.option
        assert option is not None
        likelihood = None
        if request.log_likelihood:
            likelihood = await engines.watched.log_likelihood(
                request.encoded.tokens,
                request.encoded.observed,
                request.work.deadline,
                request.spent,
            )
        if option.tier is Tier.STUDENT and not request.offline:
            self.gate.admit_to_queue(engines.student.queued(), request.work.remaining())
        tokens, observed = request.completed()
        context = request.work.deadline, request.offline, request.spent
        if option.tier is Tier.TEACHER:
            given = tokens, observed, request.teacher_noise(), option.steps, *context
            draw = partial(engines.draw_with_teacher, *given)
            with self.gate.waits_for_teacher(service):
                found = await self._from_teacher(draw, route, request.work.clock())
            if not isinstance(found, StandInReason):
                return Drawn(found[0], option, route, likelihood, found[1], time.perf_counter())
            route = route.by_stand_in(found)
            option = route.allowed[-1]
        noise = request.student_noise()
        drawn, queued = await engines.draw_with_student(tokens, observed, noise, *context)
        return Drawn(drawn, option, route, likelihood, queued, time.perf_counter())

    async def _from_teacher(
        self, draw: Callable[[], Awaitable[tuple[Tokens, float]]], route: Route, now: float
    ) -> tuple[Tokens, float] | StandInReason:
        """Return what the teacher draws, or why the student must draw in its place.

        Args:
            draw: calls the teacher; returns tokens, and the seconds that they waited.
            route: says how long to wait, and whether the student may take over.
            now: seconds on the clock of `Route.chosen_at`.
        """
        wait = patience(route, now)
        # If log-likelihoods took long, no time may be left: then the teacher is not called.
        if wait > 0:
            try:
                async with asyncio.timeout(_or_none(wait)) as waiting:
                    return await draw()
            except TimeoutError:
                if not waiting.expired():
                    raise
            except (NotReady, TeacherFailed) as exc:
                if not route.has_stand_in:
                    raise
                return StandInReason.GONE if isinstance(exc, NotReady) else StandInReason.FAILED
        self.overtaken += 1
        return StandInReason.OVERTAKEN

    async def complete_tokens(self, draw: TokenDraw) -> TokenAnswer:
        """Compute all requested outputs of one network; raises as `draw_tokens`."""
        values = {
            name: await (
                self.score_tokens(draw) if name == LOG_LIKELIHOOD else self.draw_tokens(draw)
            )
            for name in draw.outputs
        }
        return TokenAnswer(draw, values)

    async def draw_tokens(self, draw: TokenDraw) -> Tokens:
        """Complete tokens with the network that the caller named, and no other.

        Returns:
            int32 [n, T].

        Raises:
            DeadlinePassed: the network would not be in time, or was not.
            TooMuch: the server is full.
            NotReady: the teacher's process cannot be reached.
        """
        service = Priority.OFFLINE if draw.offline else Priority.REALTIME
        self.gate.enter(service)
        try:
            engines, rows = self.engines[draw.runtime], len(draw.tokens)
            is_student = draw.tier is Tier.STUDENT
            steps = 1 if is_student else max(1, draw.steps)
            predicted = (
                engines.student.predict(rows)
                if is_student
                else engines.watched.predict(rows, steps)
            )
            if math.isinf(predicted):
                raise NotReady(engines.watched.away())
            option = Option(draw.tier, steps, predicted)
            route = choose((option,), draw.work.remaining(), Wanted.FULL)
            given = draw.tokens, draw.observed, draw.noise
            context = draw.work.deadline, draw.offline, draw.spent
            is_late = route.option is None
            with self._trial(route, draw.runtime, rows, draw.work) if is_late else nullcontext():
                if is_student:
                    drawn, _ = await engines.draw_with_student(*given, *context)
                else:
                    drawn, _ = await engines.draw_with_teacher(*given, steps, *context)
            return drawn
        finally:
            if draw.offline:
                self.last_offline = time.monotonic()
            self.gate.leave(service)

    async def score_tokens(self, draw: TokenDraw) -> NDArray[np.float64]:
        """Compute ln p(observed) by the teacher, float64 [n] in nats; raises as `draw_tokens`."""
        service = Priority.OFFLINE if draw.offline else Priority.REALTIME
        self.gate.enter(service)
        try:
            teacher = self.engines[draw.runtime].watched
            return await teacher.log_likelihood(
                draw.tokens, draw.observed, draw.work.deadline, draw.spent
            )
        finally:
            self.gate.leave(service)

    def draw_now(
        self, requests: Sequence[CheckedRequest], routes: Sequence[Route | None]
    ) -> list[Drawn | Exception | None]:
        """Draw those requests of a turn that the student can draw in the event loop.

        It runs in batches of `inline_rows`: in batches of 64 rows it draws a fifth more rows a
        second than in batches of 1,024, which no longer fit a core's cache.

        Args:
            requests: in the order of admission.
            routes: the route of each request, if already chosen; None: it is routed now.

        Returns:
            For each request, what was drawn or the error; None: await `draw` for it.
        """
        out: list[Drawn | Exception | None] = [None] * len(requests)
        together: dict[Runtime, list[_Placed]] = {}
        for place, request in enumerate(requests[: self.gate.room()]):
            if request.log_likelihood or request.offline or request.wanted is Wanted.FULL:
                continue
            try:
                route = routes[place] or self.route(request)
            except Exception as exc:  # of one request: the others of its turn are drawn
                out[place] = exc
                continue
            if route.option is not None and route.option.tier is Tier.STUDENT:
                together.setdefault(request.runtime, []).append(_Placed(place, request, route))
        for runtime, chosen in together.items():
            engines = self.engines[runtime]
            if len(chosen) == 1:
                self._draw_group(engines, chosen, out)
                continue
            for group in in_groups([each.request.total for each in chosen], self._inline_rows):
                self._draw_group(engines, chosen[group], out)
        return out

    def _draw_group(
        self,
        engines: ReleaseEngines,
        group: Sequence[_Placed],
        out: list[Drawn | Exception | None],
    ) -> None:
        """Draw requests with one run of the student, unless it is busy, and fill in `out`."""
        if not engines.student.free_for(sum(each.request.total for each in group)):
            return
        began = time.perf_counter()
        try:
            drawn = engines.draw_now([each.request for each in group])
        except Exception as exc:  # of one run: other groups and releases are drawn
            for each in group:
                out[each.place] = exc
            return
        finished = time.perf_counter()
        took = finished - began
        on_gpu = took if group[0].request.runtime.on_gpu else 0.0
        if len(group) == 1:
            group[0].request.spent.add(took, on_gpu)
        else:
            weights = [each.request.drawn_tokens for each in group]
            charge((each.request.spent for each in group), weights, took, on_gpu)
        for each, tokens in zip(group, drawn, strict=True):
            assert each.route.option is not None
            out[each.place] = Drawn(tokens, each.route.option, each.route, None, 0.0, finished)

    async def draw_chunk(self, job: GenerateJob, index: int) -> Chunk:
        """Draw the rows of message `index` (from 0) of a `Generate`, once a place is free.

        Raises:
            TooMuch: it is the first of its stream, and too many others wait for a place.
            DeadlinePassed: the deadline passed before the rows were drawn.
            NotReady: the teacher's process cannot be reached.
        """
        began = time.perf_counter()
        await self.gate.wait_to_enter(Priority.OFFLINE, is_new=index == job.chunks.start)
        try:
            tokens, observed = job.known(index)
            steps, rng = job.runtime.passes(observed), stream(job.seed, index)
            deadline = job.work.deadline
            drawn, _ = await self.engines[job.runtime].draw_with_teacher(
                tokens, observed, noise_of(rng), steps, deadline, offline=True, spent=job.spent
            )
            return Chunk(index, drawn, rng, steps, time.perf_counter() - began)
        finally:
            self.last_offline = time.monotonic()
            self.gate.leave(Priority.OFFLINE)

    async def draw_ahead(self, runtime: Runtime, given: TeacherInput) -> NDArray[np.int32]:
        """Draw rows for the pool with the teacher: offline work, without a deadline.

        It does not enter the gate: the caller ensures that nothing else is waiting.

        Returns:
            int32 [n, T].
        """
        drawn, _ = await self.engines[runtime].watched.draw(given, math.inf, offline=True)
        return drawn


def _or_none(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds
