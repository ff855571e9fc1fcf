"""Answers made of pooled rows and the caller's own values.

A pooled row is the teacher's draw for a condition, as tokens. It is decoded when it is given out,
beside the caller's values, as if it had just been drawn. So numbers that follow from given ones are
exact here too.
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
    """Answers requests from a pool, and keeps it filled.

    Args:
        config: configuration of the pool.
        dispatcher: draws rows ahead of time.
        latest: returns the releases, by `Runtime.identity`, whose rows are made before any request:
            those that answer requests without a version. They may change at any time.
        load: returns what else the server does; see `Refill`.
        clock: monotonic seconds.
        metering: counts the cost of rows made ahead of time; None to count nothing.

    Attributes:
        pool, refill: the rows, and what makes them.
        model: predicts the seconds to give out so many rows.
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
        """Have rows drawn, and count their cost."""
        drawn = await self._dispatcher.draw_ahead(runtime, given)
        if self._metering is not None:
            table, unknown = runtime.release.manifest.table, given.observed.tobytes().count(0)
            key, spent = UsageKey(table, UsageTier.REFILL), given.spent
            used = Answered(key, spent.seconds, spent.gpu_seconds, len(drawn), unknown)
            self._metering.add(used)
            self._metering.is_nobodys()
        return drawn

    def start(self) -> None:
        """Start refilling the pool; call it inside an event loop."""
        self._refilling = asyncio.create_task(self.refill.run())

    async def stop(self) -> None:
        """Stop making rows."""
        if self._refilling is not None:
            self._refilling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refilling

    def may_have(self, request: CheckedRequest) -> bool:
        """Return whether pooled rows can answer a request.

        They cannot if it has a seed or too many rows, if given values must be scored, which only
        the teacher itself does, or if every column is known.
        """
        return (
            not request.seeded
            and not request.log_likelihood
            and request.total <= self.pool.config.most_rows
            and 0 in request.encoded.observed.tobytes()
        )

    def answer(self, request: CheckedRequest) -> Answer | None:
        """Return an answer of pooled rows; None if there are too few, or it would be late."""
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
        """Return an answer of pooled rows, predicted to take `seconds`; None if too few."""
        taken = self.pool.take(keys, request.draws, now)
        if taken is None:
            return None
        found = time.perf_counter()
        route = None
        if request.explain:
            option = Option(Tier.TEACHER, taken.steps, seconds, from_pool=True)
            options = (option, *self._dispatcher.options(request))
            route = choose(options, request.work.remaining(), request.wanted)
            # Whatever the router would choose by now, the pool is what answers.
            route = route._replace(option=option, probing=is_trial)
        tokens = np.frombuffer(b"".join(taken.rows), np.int32).reshape(request.total, -1)
        rows = decoded(request, tokens)
        answer = Answer(
            request, Tier.TEACHER, taken.steps, rows, found, route=route, from_pool=True
        )
        self.model.observe(request.total, time.perf_counter() - request.encoded_at)
        return answer

    def statistics(self) -> PoolStatistics:
        """Return the pool's content, and how often it answered."""
        return self.pool.statistics()


def keys_of(request: CheckedRequest) -> list[Key]:
    """Return the pool's key for each row of a request."""
    release, encoded = request.runtime.identity, request.encoded
    if request.rows == 1:
        return [Key(release, condition_of(encoded.tokens, encoded.observed))]
    rows = zip(encoded.tokens, encoded.observed, strict=True)
    return [Key(release, condition_of(*row)) for row in rows]
