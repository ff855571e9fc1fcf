"""`<table>`: values in, values out. Encodes a batch, routes each request by what is left of its
`timeout`, has the student and the teacher draw, and decodes.

What the student answers is answered before Triton hands over the next batch, in one call of it.
What the teacher answers takes as long as several batches: it is asked beside, and who waits for
the student does not wait for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar

import numpy as np
from cascade_tables.releases.triton_files import MAX_BATCH, TEACHER_BATCH
from numpy.typing import NDArray

from cascade_server.cascade.answer import Drawn, drawn_answer
from cascade_server.cascade.packing import message_of
from cascade_server.cascade.request import CheckedRequest, check
from cascade_server.cascade.router import Route, choose, patience
from cascade_server.config import ServerConfig
from cascade_server.deadline import Work
from cascade_server.engines.noise import recycle, stream
from cascade_server.engines.runtime import Mask, Tokens
from cascade_server.errors import DeadlinePassed, NotReady
from cascade_server.objectives.objective import DEFAULTS, EVERY, promised
from cascade_server.terms import Tier, Wanted
from cascade_server.triton_models import asked, backend
from cascade_server.triton_models.backend import Request, Response, Sender
from cascade_server.triton_models.beside import Beside, answer
from cascade_server.triton_models.joined import drawn_together
from cascade_server.triton_models.networks import Networks
from cascade_server.triton_models.outlook import Outlooks, Turn, waited
from cascade_server.triton_models.quick import Ask, How, Quick, Rows
from cascade_server.triton_models.row_tensor import ROW, ROW_STATE, RowTensor
from cascade_server.wire.model_tensors import PARAMETERS

T = TypeVar("T")
# Who runs the student for the cascade: its own model, called by BLS, or the cascade's process.
CALLED, HERE = "called", "here"
WHERE = (CALLED, HERE)
# Batches that may be with the teacher at once; more wait.
TEACHER_CALLS = 8


@dataclass(eq=False)
class Job:
    """A request that has been read, and routed.

    Attributes:
        request: what to draw.
        wanted: outputs.
        route: who is to draw.
    """

    request: CheckedRequest
    wanted: tuple[str, ...]
    route: Route

    @property
    def tier(self) -> Tier:
        """Who is to draw."""
        assert self.route.option is not None
        return self.route.option.tier

    @property
    def beside(self) -> bool:
        """Whether the teacher has a part in it."""
        return self.tier is Tier.TEACHER or self.request.log_likelihood


class TritonPythonModel:
    """What Triton makes of the model, an instance each."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the codec, and the student where it is to run here."""
        is_here = backend.setting(args, "student", WHERE) == HERE
        self._runtime = backend.load(args, (Tier.STUDENT,) if is_here else ())
        self._row = RowTensor(self._runtime.release.codec)
        self._outputs, self._quick = asked.Outputs(self._row), Quick(self._row, self._runtime)
        # As `backend.checked`.
        self._how = lru_cache(1024)(self._how_of)
        self._networks = Networks(self._runtime)
        self._student = self._networks.student
        if is_here:
            self._runtime.warm()
            self._student = self._runtime.draw_student
        self._outlooks, self._turn = Outlooks(), Turn()
        self._promised = promised(DEFAULTS)[EVERY]
        self._max_rows = ServerConfig().max_rows
        self._beside = Beside("beside")
        self._threads = ThreadPoolExecutor(TEACHER_CALLS, "teacher")
        self._stop = threading.Event()
        # Triton's warm-up comes before any other request, when the networks may not be there yet:
        # to ask them then ends Triton.
        self._warming = backend.warm_ups(args)
        self._learnt = False

    def finalize(self) -> None:
        """Triton lets go of the model."""
        self._stop.set()
        self._beside.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _learn(self) -> None:
        """See how long the networks take, beside the first requests."""
        try:
            found = await self._elsewhere(self._networks.learn, self._stop, self._student)
        except NotReady:
            # To be tried again with the next batch.
            self._learnt = False
            return
        if found is not None:
            self._outlooks = found

    def execute(self, requests: Sequence[Request]) -> list[Response | None]:
        """Answer a batch, but for what the teacher has a part in."""
        began = time.monotonic()
        arrived = began - waited(self._turn, began)
        out: list[Response | None] = [None] * len(requests)
        rows = 0 if self._warming else self._quickly(requests, out, arrived)
        jobs: dict[int, Job] = {}
        slow: list[tuple[Sender, Job]] = []
        for at, request in enumerate(requests):
            if out[at] is not None:
                continue
            try:
                job = self._job(request, arrived, rows)
            except Exception as exc:
                out[at] = backend.refused(exc)
                continue
            if job.beside:
                slow.append((request.get_response_sender(), job))
            else:
                jobs[at] = job
                rows += job.request.total
        if slow:
            self._beside.start(self._slow(slow))
        if jobs:
            for at, response in zip(jobs, self._now(list(jobs.values())), strict=True):
                out[at] = response
        self._turn = Turn(began, time.monotonic())
        if rows and not self._warming:
            self._outlooks.student.observe(rows, self._turn.ended - began)
        self._warmed(len(requests))
        return out

    def _quickly(
        self, requests: Sequence[Request], out: list[Response | None], arrived: float
    ) -> int:
        """Answer those that need no more than a batch gives; returns how many rows that were.

        Whatever is wrong, or the teacher's, is left for `_job`.
        """
        asks: dict[int, Ask] = {}
        total = 0
        for at, request in enumerate(requests if self._row.offered else ()):
            # What is wrong with one is not to slow the others down.
            with contextlib.suppress(Exception):
                ask = self._ask(request)
                if ask is not None and total + ask.total <= MAX_BATCH:
                    asks[at] = ask
                    total += ask.total
        rows = self._encoded(asks)
        if rows is None:
            return 0
        total = sum(ask.total for ask in asks.values())
        taken: dict[int, Ask] = {}
        places: list[range] = []
        end = 0
        for at, ask in asks.items():
            begin, end = end, end + ask.rows
            if rows.noticed and ask.how.told:
                continue
            if self._is_quick(ask, rows.observed[begin:end], arrived, total):
                taken[at] = ask
                places.append(range(begin, end))
        if not taken:
            return 0
        kept = list(taken.values())
        if len(kept) < len(asks) or total > end:
            drawn_of = zip(kept, places, strict=True)
            rows = rows.take(
                [at for ask, of in drawn_of for at in of for _ in range(ask.how.draws)]
            )
        try:
            noise, rngs = self._quick.noise(kept, rows.observed)
            drawn = self._student(rows.tokens, rows.observed, noise)
            answers = self._quick.decode(kept, rows, drawn, rngs)
            for at, answered in zip(taken, answers, strict=True):
                out[at] = backend.reply(answered)
        except Exception as exc:
            for at in taken:
                out[at] = backend.refused(exc)
        return len(rows.values)

    def _ask(self, request: Request) -> Ask | None:
        """A request that may be answered with others; None: it may not."""
        given, outputs = backend.arrays(request), tuple(request.requested_output_names())
        how = self._how(request.parameters(), request.timeout(), outputs, ROW in given)
        return None if how is None else self._quick.read(given, how)

    def _encoded(self, asks: dict[int, Ask]) -> Rows | None:
        """Rows of some requests; those that have a wrong value are taken out."""
        with contextlib.suppress(Exception):
            return self._quick.encode(list(asks.values())) if asks else None
        for at, ask in list(asks.items()):
            try:
                self._quick.encode([ask])
            except Exception:
                del asks[at]
        return self._quick.encode(list(asks.values())) if asks else None

    def _how_of(
        self, text: str, timeout: int, outputs: tuple[str, ...], as_row: bool
    ) -> How | None:
        parameters = backend.checked(text, timeout, PARAMETERS[None])
        return self._quick.how(parameters, outputs, as_row)

    def _is_quick(self, ask: Ask, observed: Mask, arrived: float, rows: int) -> bool:
        """Whether the student is to answer, and would be in time."""
        how = ask.how
        if not how.timeout and how.wanted is Wanted.FAST:
            return True
        passes = max(1, self._runtime.passes(observed))
        now = time.monotonic()
        options = self._outlooks.options(ask.total, passes, how.wanted, rows - ask.total, now)
        remaining = arrived + how.timeout - now if how.timeout else math.inf
        route = choose(options, remaining, how.wanted, promised=self._promised)
        return route.option is not None and route.option.tier is Tier.STUDENT

    def _now(self, jobs: Sequence[Job]) -> list[Response]:
        """Have the student draw, and pack."""
        requests = [job.request for job in jobs]
        try:
            drawn = [request.completed()[0] for request in requests]
            if not self._warming:
                drawn = self._by_student(requests)
        except Exception as exc:
            return [backend.refused(exc) for _ in jobs]
        out = []
        for job, tokens in zip(jobs, drawn, strict=True):
            try:
                out.append(self._packed(job, tokens, None))
            except Exception as exc:
                out.append(backend.refused(exc))
        return out

    def _warmed(self, requests: int) -> None:
        if self._warming:
            self._warming = max(0, self._warming - requests)
        elif not self._learnt:
            self._learnt = True
            self._beside.start(self._learn())

    def _job(self, request: Request, arrived: float, beside: int) -> Job:
        """Read, check and route a request.

        Args:
            request: Triton's.
            arrived: monotonic seconds, at the earliest.
            beside: rows that the student is to draw in the same batch.
        """
        parameters = backend.parameters(request, PARAMETERS[None])
        given = backend.arrays(request)
        as_row = self._row.offered and (ROW in given or ROW_STATE in given)
        wanted = self._outputs.wanted(request.requested_output_names(), as_row)
        if as_row:
            inputs = asked.as_columns(*asked.checked_row(given, self._row), self._row)
        else:
            inputs = backend.tensors(given)
        read = asked.to_request(inputs, wanted, parameters, self._row)
        timeout = parameters.timeout / 1e6 or math.inf
        request = check(read, self._runtime, Work(arrived + timeout), self._max_rows)
        return Job(request, wanted, self._route(request, beside))

    def _route(self, request: CheckedRequest, beside: int) -> Route:
        passes = max(1, self._runtime.passes(request.encoded.observed))
        now = time.monotonic()
        options = self._outlooks.options(request.total, passes, request.wanted, beside, now)
        route = choose(options, request.work.remaining(), request.wanted, promised=self._promised)
        if route.option is None:
            raise DeadlinePassed(f"refused before it was late: {route.reason}")
        return route

    def _by_student(self, requests: Sequence[CheckedRequest]) -> list[Tokens]:
        """Draw requests in one call of the student."""
        return drawn_together(requests, self._runtime.student_noise, MAX_BATCH, self._student)

    def _by_teacher(self, requests: Sequence[CheckedRequest]) -> list[Tokens]:
        """Draw requests in one call of the teacher; it joins others at its next pass."""
        left = max(request.work.remaining() for request in requests)
        ask = partial(
            self._networks.teacher,
            steps=self._runtime.steps,
            timeout=0 if math.isinf(left) else max(1, round(1e6 * left)),
        )
        return drawn_together(requests, self._runtime.teacher_noise, TEACHER_BATCH, ask)

    def _packed(self, job: Job, tokens: Tokens, likelihood: NDArray[np.float64] | None) -> Response:
        option = job.route.option
        assert option is not None
        drawn = Drawn(tokens, option, job.route, likelihood, 0.0, time.perf_counter())
        response = message_of(drawn_answer(job.request, drawn))
        recycle(job.request.rng)
        found = asked.to_outputs(response, job.wanted, self._row)
        return backend.reply({name: backend.array_of(each) for name, each in found.items()})

    async def _slow(self, slow: Sequence[tuple[Sender, Job]]) -> None:
        """Answer requests of one batch that the teacher has a part in."""
        requests = [job.request for _, job in slow if job.tier is Tier.TEACHER]
        drawing = asyncio.ensure_future(self._teach(requests))
        # Whoever is too late for it has been told so.
        drawing.add_done_callback(lambda done: done.cancelled() or done.exception())
        at = iter(range(len(requests)))
        answers = []
        for sender, job in slow:
            place = next(at) if job.tier is Tier.TEACHER else None
            answers.append(answer(sender, self._slowly(job, drawing, place)))
        await asyncio.gather(*answers)

    async def _teach(self, requests: Sequence[CheckedRequest]) -> list[Tokens]:
        """What the teacher draws for requests; learns how long that takes."""
        if not requests:
            return []
        outlooks, rows = self._outlooks, sum(request.total for request in requests)
        passes = max(1, *(self._runtime.passes(request.encoded.observed) for request in requests))
        outlooks.underway += rows
        together = min(outlooks.underway, TEACHER_BATCH)
        began = time.monotonic()
        try:
            drawn = await self._elsewhere(self._by_teacher, requests)
        finally:
            outlooks.underway -= rows
        calls = -(-rows // TEACHER_BATCH)
        outlooks.teacher.observe(together, (time.monotonic() - began) / (calls * passes))
        return drawn

    async def _slowly(
        self, job: Job, drawing: asyncio.Future[list[Tokens]], place: int | None
    ) -> Response:
        request, likelihood = job.request, None
        if request.log_likelihood:
            likelihood = await self._elsewhere(
                self._networks.log_likelihood, request.encoded.tokens, request.encoded.observed
            )
        if place is None:
            (tokens,) = await self._elsewhere(self._by_student, [request])
            return self._packed(job, tokens, likelihood)
        until = min(patience(job.route), request.work.remaining())
        try:
            async with asyncio.timeout(None if math.isinf(until) else until):
                tokens = (await asyncio.shield(drawing))[place]
        except TimeoutError:
            request.work.check()
            # As if it had been routed there: the same rows for a seed.
            request.rng = stream(request.seed)
            job.route = job.route._replace(option=job.route.allowed[-1], overtaken=True)
            (tokens,) = await self._elsewhere(self._by_student, [request])
        return self._packed(job, tokens, likelihood)

    async def _elsewhere(self, work: Callable[..., T], *args: Any) -> T:
        """What blocks, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
