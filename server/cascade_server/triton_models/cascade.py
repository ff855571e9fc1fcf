"""`<table>`: values in, values out.

It encodes a batch, routes each request by the time left of its `timeout`, lets the student and the
teacher draw, and decodes.

Requests for the student are answered before Triton sends the next batch, in one call of it. The
teacher takes as long as several batches, so it works in the background, and requests for the
student do not wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import cycle
from typing import Any, TypeVar

import numpy as np
from cascade_tables.releases.triton_files import MAX_BATCH, TEACHER_BATCH
from numpy.typing import NDArray

from cascade_server.cascade.answer import Drawn, drawn_answer
from cascade_server.cascade.probing import Probing, kind_of
from cascade_server.cascade.request import CheckedRequest, check
from cascade_server.cascade.router import Route, StandInReason, choose, patience
from cascade_server.config import ServerConfig
from cascade_server.deadline import Work, bounded
from cascade_server.engines.runtime import Mask, Tokens
from cascade_server.engines.teacher import MEASURE_SECONDS, MEASURED_ROWS
from cascade_server.errors import DeadlinePassed, NotReady
from cascade_server.objectives.objective import DEFAULTS, EVERY, promised
from cascade_server.terms import Tier, Wanted
from cascade_server.triton_models import backend, table_requests
from cascade_server.triton_models.backend import Request, Response, Sender
from cascade_server.triton_models.background import Background, answer
from cascade_server.triton_models.job import Job
from cascade_server.triton_models.networks import Networks
from cascade_server.triton_models.outlook import Outlooks, Turn, waited
from cascade_server.triton_models.row_tensor import ROW, ROW_STATE, RowTensor
from cascade_server.triton_models.shared_draws import draw_together
from cascade_server.triton_models.student_batch import (
    BatchOptions,
    BatchRequest,
    BatchRows,
    StudentBatch,
)
from cascade_server.wire.model_tensors import PARAMETERS

T = TypeVar("T")
# What runs the student for the cascade: its own model, called by BLS, or the cascade's process.
CALLED, HERE = "called", "here"
WHERE = (CALLED, HERE)
# Most batches at the teacher at the same time; others wait.
TEACHER_CALLS = 8


class TritonPythonModel:
    """The class that Triton creates, once per instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the codec, and the student if it runs in this process."""
        is_here = backend.setting(args, "student", WHERE) == HERE
        self._runtime = backend.load(args, (Tier.STUDENT,) if is_here else ())
        self._row = RowTensor(self._runtime.release.codec)
        self._outputs = table_requests.Outputs(self._row)
        self._batch = StudentBatch(self._row, self._runtime)
        # Like `backend.checked`.
        self._options = lru_cache(1024)(self._read_options)
        self._networks = Networks(self._runtime)
        self._student = self._networks.student
        if is_here:
            self._runtime.warm()
            self._student = self._runtime.draw_student
        self._outlooks, self._turn = Outlooks(), Turn()
        self._probing = Probing()
        self._teacher_seen, self._measured_rows = time.monotonic(), cycle(MEASURED_ROWS)
        self._promised = promised(DEFAULTS)[EVERY]
        self._max_rows = ServerConfig().max_rows
        self._background = Background("beside")
        self._threads = ThreadPoolExecutor(TEACHER_CALLS, "teacher")
        self._stop = threading.Event()
        # Triton's warm-up precedes all other requests. The networks may not be loaded by then, and
        # calling them would crash Triton.
        self._warming = backend.warm_ups(args)
        self._learnt = False

    def finalize(self) -> None:
        """Close the model for Triton."""
        self._stop.set()
        self._background.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _mind_teacher(self, now: float) -> None:
        """Measure the teacher in the background if it has been idle for a while.

        Otherwise AUTO would never again ask a teacher that was slow once.
        """
        if self._outlooks.teacher.known and now - self._teacher_seen > MEASURE_SECONDS:
            self._teacher_seen = now
            self._background.start(self._measure_teacher())

    async def _measure_teacher(self) -> None:
        for rows in (1, next(self._measured_rows)):
            with contextlib.suppress(NotReady):
                seconds = await self._in_thread(self._networks.teacher_seconds, rows)
                self._outlooks.teacher.observe(rows, seconds)

    async def _learn(self) -> None:
        """Measure how long the networks take, beside the first requests."""
        try:
            found = await self._in_thread(self._networks.learn, self._stop, self._student)
        except NotReady:
            # The next batch tries again.
            self._learnt = False
            return
        if found is not None:
            self._outlooks = found

    def execute(self, requests: Sequence[Request]) -> list[Response | None]:
        """Answer a batch, except for requests that involve the teacher."""
        began = time.monotonic()
        arrived = began - waited(self._turn, began)
        out: list[Response | None] = [None] * len(requests)
        rows = 0 if self._warming else self._answer_together(requests, out, arrived)
        jobs: dict[int, Job] = {}
        slow: list[tuple[Sender, Job]] = []
        for index, request in enumerate(requests):
            if out[index] is not None:
                continue
            try:
                job = self._job(request, arrived, rows)
            except Exception as exc:  # raised, it would fail Triton's whole batch
                out[index] = backend.refused(exc)
                continue
            if job.beside:
                slow.append((request.get_response_sender(), job))
            else:
                jobs[index] = job
                rows += job.request.total
        if slow:
            self._background.start(self._answer_by_teacher(slow))
        if jobs:
            responses = self._answer_by_student(list(jobs.values()))
            self._end_trials(jobs.values())
            for index, response in zip(jobs, responses, strict=True):
                out[index] = response
        self._turn = Turn(began, time.monotonic())
        if rows and not self._warming:
            self._outlooks.student.observe(rows, self._turn.ended - began)
        self._warmed(len(requests))
        self._mind_teacher(began)
        return out

    def _answer_together(
        self, requests: Sequence[Request], out: list[Response | None], arrived: float
    ) -> int:
        """Answer the requests that suit a `StudentBatch`, all in one call of the student.

        Returns:
            The number of rows of those requests.

        Requests that are invalid, or need the teacher, are left for `_job`.
        """
        candidates: dict[int, BatchRequest] = {}
        total = 0
        for index, request in enumerate(requests if self._row.offered else ()):
            # An invalid request must not slow the others down.
            with contextlib.suppress(Exception):
                candidate = self._batch_request(request)
                if candidate is not None and total + candidate.total <= MAX_BATCH:
                    candidates[index] = candidate
                    total += candidate.total
        rows = self._encoded(candidates)
        if rows is None:
            return 0
        total = sum(candidate.total for candidate in candidates.values())
        taken: dict[int, BatchRequest] = {}
        places: list[range] = []
        end = 0
        for index, candidate in candidates.items():
            begin, end = end, end + candidate.rows
            if rows.noticed and candidate.options.told:
                continue
            if self._is_for_batch(candidate, rows.observed[begin:end], arrived, total):
                taken[index] = candidate
                places.append(range(begin, end))
        if not taken:
            return 0
        kept = list(taken.values())
        if len(kept) < len(candidates) or total > end:
            # Repeat each row for each of its draws.
            rows = rows.take(
                [
                    place
                    for candidate, own in zip(kept, places, strict=True)
                    for place in own
                    for _ in range(candidate.options.draws)
                ]
            )
        try:
            noise = self._batch.noise(kept, rows.observed)
            drawn = self._student(rows.tokens, rows.observed, noise)
            answers = self._batch.decode(kept, rows, drawn)
            for index, answered in zip(taken, answers, strict=True):
                out[index] = backend.reply(answered)
        except Exception as exc:  # of this run alone: requests beside it are answered
            for index in taken:
                out[index] = backend.refused(exc)
        return len(rows.values)

    def _batch_request(self, request: Request) -> BatchRequest | None:
        """Return a request that may be answered together with others; None if it may not."""
        given, outputs = backend.arrays(request), tuple(request.requested_output_names())
        options = self._options(request.parameters(), request.timeout(), outputs, ROW in given)
        return None if options is None else self._batch.read(given, options)

    def _encoded(self, candidates: dict[int, BatchRequest]) -> BatchRows | None:
        """Return the rows of some requests; requests with an invalid value are removed."""
        with contextlib.suppress(Exception):  # the loop below finds the request to blame
            return self._batch.encode(list(candidates.values())) if candidates else None
        for index, candidate in list(candidates.items()):
            try:
                self._batch.encode([candidate])
            except Exception:  # `_job` reads it again, and says what is wrong
                del candidates[index]
        return self._batch.encode(list(candidates.values())) if candidates else None

    def _read_options(
        self, text: str, timeout: int, outputs: tuple[str, ...], as_row: bool
    ) -> BatchOptions | None:
        parameters = backend.checked(text, timeout, PARAMETERS[None])
        return self._batch.options(parameters, outputs, as_row)

    def _is_for_batch(
        self, candidate: BatchRequest, observed: Mask, arrived: float, rows: int
    ) -> bool:
        """Return whether the student should answer, and would be in time."""
        wanted, timeout = candidate.options.wanted, candidate.options.timeout
        if not timeout and wanted is Wanted.FAST:
            return True
        passes = max(1, self._runtime.passes(observed))
        now = time.monotonic()
        ways = self._outlooks.options(candidate.total, passes, wanted, rows - candidate.total, now)
        remaining = arrived + timeout - now if timeout else math.inf
        route = choose(ways, remaining, wanted, promised=self._promised)
        return route.option is not None and route.option.tier is Tier.STUDENT

    def _answer_by_student(self, jobs: Sequence[Job]) -> list[Response]:
        """Draw with the student, and pack the answers."""
        requests = [job.request for job in jobs]
        try:
            drawn = [request.completed()[0] for request in requests]
            if not self._warming:
                drawn = self._draw_by_student(requests)
        except Exception as exc:  # raised, it would fail those that the teacher answers too
            return [backend.refused(exc) for _ in jobs]
        out = []
        for job, tokens in zip(jobs, drawn, strict=True):
            try:
                out.append(self._packed(job, tokens, None))
            except Exception as exc:  # of one request's rows: the others are packed
                out.append(backend.refused(exc))
        return out

    def _warmed(self, requests: int) -> None:
        if self._warming:
            self._warming = max(0, self._warming - requests)
        elif not self._learnt:
            self._learnt = True
            self._background.start(self._learn())

    def _job(self, request: Request, arrived: float, beside: int) -> Job:
        """Read, check and route a request.

        Args:
            request: Triton's request.
            arrived: the earliest time of its arrival, monotonic seconds.
            beside: rows of other requests that the student draws in the same batch.
        """
        parameters = backend.parameters(request, PARAMETERS[None])
        given = backend.arrays(request)
        as_row = self._row.offered and (ROW in given or ROW_STATE in given)
        wanted = self._outputs.wanted(request.requested_output_names(), as_row)
        if as_row:
            values, states = table_requests.checked_row(given, self._row)
            inputs = table_requests.as_columns(values, states, self._row)
        else:
            inputs = backend.tensors(given)
        read = table_requests.to_request(inputs, wanted, parameters, self._row)
        timeout = parameters.timeout / 1e6 or math.inf
        checked = check(read, self._runtime, Work(arrived + timeout), self._max_rows)
        return Job(checked, wanted, self._route(checked, beside))

    def _route(self, request: CheckedRequest, beside: int) -> Route:
        passes = max(1, self._runtime.passes(request.encoded.observed))
        now = time.monotonic()
        options = self._outlooks.options(request.total, passes, request.wanted, beside, now)
        remaining, wanted = request.work.deadline - now, request.wanted
        route = choose(options, remaining, wanted, promised=self._promised, now=now)
        if route.option is not None:
            return route
        option = route.cheapest
        kind = self._kind(request, option.tier)
        if not self._probing.tries(kind, now, option.seconds, route.remaining):
            raise DeadlinePassed(f"refused before it was late: {route.reason}")
        return route._replace(option=option, probing=True)

    def _kind(self, request: CheckedRequest, tier: Tier) -> Hashable:
        return kind_of(self._runtime.identity, tier, request.total)

    def _end_trials(self, jobs: Iterable[Job]) -> None:
        """Note which trials among finished jobs were in time."""
        for job in jobs:
            if job.route.probing:
                kind, in_time = self._kind(job.request, job.tier), job.request.work.remaining() > 0
                self._probing.ended(kind, time.monotonic(), in_time)

    def _draw_by_student(self, requests: Sequence[CheckedRequest]) -> list[Tokens]:
        """Draw requests in one call of the student."""
        return draw_together(
            requests,
            CheckedRequest.student_noise,
            self._runtime.student_noise,
            MAX_BATCH,
            self._student,
        )

    def _draw_by_teacher(self, requests: Sequence[CheckedRequest]) -> list[Tokens]:
        """Draw requests in one call of the teacher; it joins others at its next pass."""
        left = max(request.work.remaining() for request in requests)
        candidate = partial(
            self._networks.teacher,
            steps=self._runtime.steps,
            timeout=backend.microseconds(left),
        )
        return draw_together(
            requests,
            CheckedRequest.teacher_noise,
            self._runtime.teacher_noise,
            TEACHER_BATCH,
            candidate,
        )

    def _packed(self, job: Job, tokens: Tokens, likelihood: NDArray[np.float64] | None) -> Response:
        option = job.route.option
        assert option is not None
        drawn = Drawn(tokens, option, job.route, likelihood, 0.0, time.perf_counter())
        answered = drawn_answer(job.request, drawn)
        found = table_requests.to_outputs(answered, job.wanted, self._row)
        return backend.reply({name: backend.array_of(each) for name, each in found.items()})

    async def _answer_by_teacher(self, slow: Sequence[tuple[Sender, Job]]) -> None:
        """Answer requests of one batch that involve the teacher."""
        requests = [job.request for _, job in slow if job.tier is Tier.TEACHER]
        drawing = asyncio.ensure_future(self._drawn_by_teacher(requests))
        # Requests that are too late have already been answered.
        drawing.add_done_callback(lambda done: done.cancelled() or done.exception())
        places = iter(range(len(requests)))
        answers = []
        for sender, job in slow:
            place = next(places) if job.tier is Tier.TEACHER else None
            answers.append(answer(sender, self._answer_later(job, drawing, place)))
        await asyncio.gather(*answers)
        self._end_trials(job for _, job in slow)

    async def _drawn_by_teacher(self, requests: Sequence[CheckedRequest]) -> list[Tokens]:
        """Draw requests with the teacher, and learn how long that takes."""
        if not requests:
            return []
        self._teacher_seen = time.monotonic()
        outlooks, rows = self._outlooks, sum(request.total for request in requests)
        passes = max(1, *(self._runtime.passes(request.encoded.observed) for request in requests))
        outlooks.underway += rows
        together = min(outlooks.underway, TEACHER_BATCH)
        began, failures = time.monotonic(), outlooks.failures
        failures.begins(began)
        try:
            drawn = await self._in_thread(self._draw_by_teacher, requests)
        except NotReady:
            failures.failed(began, time.monotonic())
            raise
        finally:
            outlooks.underway -= rows
        failures.worked()
        calls = -(-rows // TEACHER_BATCH)
        outlooks.teacher.observe(together, (time.monotonic() - began) / (calls * passes))
        return drawn

    async def _answer_later(
        self, job: Job, drawing: asyncio.Future[list[Tokens]], place: int | None
    ) -> Response:
        async with bounded(job.request.work.deadline, job.request.work.clock):
            return await self._answered(job, drawing, place)

    async def _answered(
        self, job: Job, drawing: asyncio.Future[list[Tokens]], place: int | None
    ) -> Response:
        """Return the answer to a job.

        The teacher draws its request as number `place` of the batch; if None, it does not draw it.
        """
        request, likelihood = job.request, None
        if request.log_likelihood:
            likelihood = await self._in_thread(
                self._networks.log_likelihood,
                request.encoded.tokens,
                request.encoded.observed,
                backend.microseconds(request.work.remaining()),
            )
        if place is not None:
            wait, why = patience(job.route, request.work.clock()), StandInReason.OVERTAKEN
            try:
                async with asyncio.timeout(None if math.isinf(wait) else wait) as waiting:
                    return self._packed(job, (await asyncio.shield(drawing))[place], likelihood)
            except TimeoutError:
                if not waiting.expired():
                    raise
            except NotReady:
                if not job.route.has_stand_in:
                    raise
                why = StandInReason.FAILED
            job.route = job.route.by_stand_in(why)
        (tokens,) = await self._in_thread(self._draw_by_student, [request])
        return self._packed(job, tokens, likelihood)

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        """Run blocking work in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
