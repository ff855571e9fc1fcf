"""Answers made of pooled rows: what was drawn ahead of time, and what the caller gave.

A pooled row is what the teacher drew for a condition, as tokens; it becomes values when it is given
out, beside the caller's own, as if it had just been drawn. So numbers that follow from given ones
are exact here too.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import numpy as np

from cascade_server.cascade.answer import Answer, decoded
from cascade_server.cascade.dispatch import Dispatcher
from cascade_server.cascade.probing import Probing, kind_of
from cascade_server.cascade.request import CheckedRequest
from cascade_server.cascade.router import Option, choose, fits
from cascade_server.counts.metering import Answered, Metering
from cascade_server.counts.shared.compute import UsageKey, UsageTier
from cascade_server.engines.latency_model import LatencyModel
from cascade_server.engines.runtime import Runtime, Tokens
from cascade_server.engines.teacher import TeacherInput
from cascade_server.store.pool import Demand, Key, Pool, PoolConfig, PoolStatistics, condition_of
from cascade_server.store.refill import Load, Refill, RefillConfig
from cascade_server.terms import Tier


class PooledAnswers:
    """Gives out the rows of a pool, and has it refilled.

    Args:
        config: of the pool.
        dispatcher: draws ahead of time.
        latest: says of which releases, by `Runtime.identity`, rows are made before anybody has
            asked; those that answer who names no version, which may be others in a moment.
        load: what the server does beside it, as for `Refill`.
        clock: monotonic seconds.
        metering: counts what rows cost that are made ahead of time; None: nobody asks.

    Attributes:
        pool, refill: what there is, and who makes it.
        model: seconds that it takes to give out so many rows.
    """

    def __init__(
        self,
        config: PoolConfig,
        dispatcher: Dispatcher,
        latest: Callable[[], Sequence[str]],
        load: Callable[[float], Load],
        clock: Callable[[], float] = time.monotonic,
        refill: RefillConfig | None = None,
        metering: Metering | None = None,
    ) -> None:
        self._metering = metering
        self._dispatcher, self._clock = dispatcher, clock
        self._refilling: asyncio.Task[None] | None = None
        refill = refill or RefillConfig()
        runtimes = {runtime.identity: runtime for runtime in dispatcher.engines}
        self.pool = Pool(config, list(runtimes))
        self.model = LatencyModel()
        self._probing = Probing()
        self._demand = Demand(refill.half_life, now=clock())
        self.refill = Refill(
            self.pool, self._demand, runtimes, latest, self._drawn_ahead, load, refill
        )

    async def _drawn_ahead(self, runtime: Runtime, given: TeacherInput) -> Tokens:
        """Have rows made, and count what they cost."""
        drawn = await self._dispatcher.draw_ahead(runtime, given)
        if self._metering is not None:
            table, unknown = runtime.release.manifest.table, given.observed.tobytes().count(0)
            key, spent = UsageKey(table, UsageTier.REFILL), given.spent
            used = Answered(key, spent.seconds, spent.gpu_seconds, len(drawn), unknown)
            self._metering.add(used)
            self._metering.is_nobodys()
        return drawn

    def start(self) -> None:
        """Begin to refill the pool; inside an event loop."""
        self._refilling = asyncio.create_task(self.refill.run())

    async def stop(self) -> None:
        """Make no more rows."""
        if self._refilling is not None:
            self._refilling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refilling

    def may_have(self, request: CheckedRequest) -> bool:
        """Whether pooled rows can answer a request: of one with a seed never; only the teacher
        itself scores what is given; and nothing is to be drawn of what is known."""
        return (
            not request.seeded
            and not request.log_likelihood
            and request.total <= self.pool.config.most_rows
            and 0 in request.encoded.observed.tobytes()
        )

    def answer(self, request: CheckedRequest) -> Answer | None:
        """An answer of pooled rows; None: there are too few, or it would be late."""
        keys, now = keys_of(request), self._clock()
        for key in keys:
            self._demand.note(key, request.draws, now)
        seconds, remaining = self.model.tail(request.total), request.work.remaining()
        if fits(seconds, remaining):
            return self._given_out(request, keys, now, seconds)
        kind = kind_of(request.runtime.identity, Tier.TEACHER, request.total)
        if not self._probing.tries(kind, now, seconds, remaining):
            return None
        try:
            return self._given_out(request, keys, now, seconds, is_trial=True)
        finally:
            self._probing.ended(kind, self._clock(), request.work.remaining() > 0)

    def _given_out(
        self,
        request: CheckedRequest,
        keys: list[Key],
        now: float,
        seconds: float,
        is_trial: bool = False,
    ) -> Answer | None:
        """An answer of pooled rows, predicted to take so long; None: there are too few."""
        taken = self.pool.take(keys, request.draws, now)
        if taken is None:
            return None
        found = time.perf_counter()
        route = None
        if request.explain:
            option = Option(Tier.TEACHER, taken.steps, seconds, from_pool=True)
            options = (option, *self._dispatcher.options(request))
            route = choose(options, request.work.remaining(), request.wanted)
            # Whatever would be chosen by now: this is who answers.
            route = route._replace(option=option, probing=is_trial)
        tokens = np.frombuffer(b"".join(taken.rows), np.int32).reshape(request.total, -1)
        rows = decoded(request, tokens)
        answer = Answer(
            request, Tier.TEACHER, taken.steps, rows, found, route=route, from_pool=True
        )
        self.model.observe(request.total, time.perf_counter() - request.encoded_at)
        return answer

    def statistics(self) -> PoolStatistics:
        """What the pool holds and how often it answered."""
        return self.pool.statistics()


def keys_of(request: CheckedRequest) -> list[Key]:
    """What each row of a request needs of the pool."""
    release, encoded = request.runtime.identity, request.encoded
    if request.rows == 1:
        return [Key(release, condition_of(encoded.tokens, encoded.observed))]
    rows = zip(encoded.tokens, encoded.observed, strict=True)
    return [Key(release, condition_of(*row)) for row in rows]
