"""`Synthesize` calls that came together: read, checked, drawn in one run and answered in one turn.

Only what has to wait becomes a task of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from cascade_proto import synthesis_pb2 as pb

from cascade_server.cascade import synthesis
from cascade_server.cascade.synthesis import Drawn, Plan
from cascade_server.counts.calls import Call
from cascade_server.deadline import Work
from cascade_server.engines.noise import recycle
from cascade_server.errors import Refusal, refusal_of
from cascade_server.objectives.report import OK
from cascade_server.terms import Tier
from cascade_server.transport import Arrival, Outcome, Status
from cascade_server.wire.announced import announced

# Between turns the event loop looks at what else there is: a turn of so many calls of one row takes
# about a millisecond.
CALLS_A_TURN = 16


class Answering(Protocol):
    """What the calls ask of the service."""

    def call(self, arrived: float | None = None) -> Call:
        """A real-time call, to be counted."""

    def plan(self, request: pb.SynthesizeRequest, work: Work) -> Plan:
        """Check and encode a request; raises what is wrong with it."""

    def admit(self, waiting: int, remaining: float) -> None:
        """Raises what is wrong if a call may not wait behind others, with so many seconds left."""

    def turned(self, seconds: float, left: int) -> None:
        """A turn took so long for each of its calls, while `left` more were waiting."""

    def draw_now(self, jobs: Sequence[Plan]) -> list[Drawn | None]:
        """Draw at once what can be; None: to be answered by `answer`."""

    async def answer(self, job: Plan) -> tuple[pb.SynthesizeResponse, Tier]:
        """Wait until a plan is answered."""

    def took(self, seconds: float, waiting: int) -> None:
        """A call for one row took so long, from its arrival, and so many were waiting."""


class Together:
    """Takes calls of `Synthesize` as they come.

    Args:
        answering: the service.
        clock: monotonic seconds.
    """

    most = CALLS_A_TURN

    def __init__(self, answering: Answering, clock: Callable[[], float] = time.monotonic) -> None:
        self._answering, self._clock = answering, clock
        # Of the last turn: when it began, its calls, and how many it left waiting.
        self._last = (0.0, 1, 0)

    def admit(
        self,
        arrived: float,
        deadline: float,
        waiting: int,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> Status | None:
        """Whether a call may wait for its turn; else how it ends."""
        try:
            self._answering.admit(waiting, deadline - arrived)
        except Exception as exc:
            call = self._answering.call(arrived)
            call.announces(*announced(headers), deadline)
            return _refused(exc, call)
        return None

    def take(
        self, arrivals: Sequence[Arrival], waiting: int
    ) -> Sequence[Outcome | Coroutine[Any, Any, Outcome]]:
        """Answer calls, or say what is to be awaited for it."""
        now = self._clock()
        began, calls, left = self._last
        if left:
            # What the others were told in between is part of it.
            self._answering.turned((now - began) / calls, left)
        self._last = (now, len(arrivals), waiting)
        out = self._taken(arrivals, waiting)
        if not waiting:
            self._answering.turned((self._clock() - now) / len(arrivals), 0)
        return out

    def _taken(
        self, arrivals: Sequence[Arrival], waiting: int
    ) -> Sequence[Outcome | Coroutine[Any, Any, Outcome]]:
        out: list[Any] = [b""] * len(arrivals)
        jobs: list[Plan] = []
        of: list[tuple[int, Call]] = []
        for at, arrival in enumerate(arrivals):
            call = self._answering.call(arrival.arrived)
            try:
                request = pb.SynthesizeRequest.FromString(arrival.message)
                work = Work.until(arrival.deadline, request.timeout_microseconds)
                call.asks(*synthesis.counted_as(request, work.deadline))
                if arrival.gone:
                    call.hung_up()
                    continue
                job = self._answering.plan(request, work)
                call.answers_with(job.version)
                jobs.append(job)
                of.append((at, call))
            except Exception as exc:
                out[at] = _refused(exc, call)
        try:
            found = self._answering.draw_now(jobs)
        except Exception as exc:
            for at, call in of:
                out[at] = _refused(exc, call)
            return out
        for (at, call), job, drawn in zip(of, jobs, found, strict=True):
            if drawn is None:
                out[at] = self._wait(arrivals[at], job, call)
                continue
            try:
                response = synthesis.pack(job, drawn).SerializeToString()
            except Exception as exc:
                out[at] = _refused(exc, call)
                continue
            recycle(job.rng)
            call.sends(drawn.option.tier, job.total)
            call.ends(OK)
            out[at] = response
            if job.total == 1:
                seconds = self._clock() - arrivals[at].arrived
                self._answering.took(seconds, waiting + len(arrivals))
        return out

    async def _wait(self, arrival: Arrival, job: Plan, call: Call) -> Outcome:
        try:
            if arrival.gone:
                raise asyncio.CancelledError
            response, tier = await self._answering.answer(job)
            message = response.SerializeToString()
        except asyncio.CancelledError:
            call.hung_up()
            raise
        except Exception as exc:
            return _refused(exc, call)
        call.sends(tier, job.total)
        call.ends(OK)
        return message


def _refused(error: Exception, call: Call) -> Status:
    refusal = refusal_of(error)
    call.ends(refusal.code)
    return status_of(refusal)


def status_of(refusal: Refusal) -> Status:
    """How a refused call ends."""
    if refusal.pushback_ms is None:
        return Status(refusal.code, refusal.message)
    pushback = ("grpc-retry-pushback-ms", str(refusal.pushback_ms))
    return Status(refusal.code, refusal.message, (pushback,))
