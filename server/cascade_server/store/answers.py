"""Where an answer comes from: rows made ahead of time, an equal request's answer, or a draw.

A request without a seed may be given pooled rows and is never answered twice alike; one with a seed
is never given them, and may be answered from the cache.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from cascade_proto import synthesis_pb2 as pb
from google.protobuf.message import DecodeError

from cascade_server.cascade import synthesis
from cascade_server.cascade.dispatch import Dispatcher
from cascade_server.cascade.repository import Repository
from cascade_server.cascade.router import Option, Route, choose, fits
from cascade_server.cascade.synthesis import Drawn, Plan
from cascade_server.config import ServerConfig
from cascade_server.counts.ledger import Ledger
from cascade_server.engines.latency_model import LatencyModel
from cascade_server.engines.noise import recycle
from cascade_server.store import pooled
from cascade_server.store.cache import Cache, CacheConfig, Flights, key_of
from cascade_server.store.pool import Demand, Pool, PoolConfig, PoolStatistics
from cascade_server.store.refill import Load, Refill, RefillConfig, worst_burn
from cascade_server.store.second_level import SecondLevel
from cascade_server.terms import Tier, Wanted

Answer = tuple[pb.SynthesizeResponse, Tier]
CACHED = "an equal request with this seed was answered before"


@dataclass(frozen=True)
class CacheStatistics:
    """A snapshot of the cache; see `CacheStatistics` of the wire."""

    hits: int
    second_level_hits: int
    joined: int
    misses: int
    entries: int
    bytes: int
    evicted: int
    second_level_failures: Mapping[str, int]


@dataclass
class _Counts:
    hits: int = 0
    second_level_hits: int = 0
    joined: int = 0
    misses: int = 0


class _OvertakenError(Exception):
    """The student has answered in the teacher's place; not what waits for the teacher wants."""


class Answers:
    """Answers plans.

    Attributes:
        pool, refill, cache, second_level: None where there is none.
        flights: equal requests that wait for each other.
        burn_until: when to look again how fast error budgets burn, on the clock of deadlines.

    Args:
        dispatcher: draws.
        repository: whose releases the pool is for.
        config: how large pool and cache are; 0 bytes: there is none.
        ledger: says how real-time objectives are kept.
        second_level: of the cache, where there is one.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        repository: Repository,
        config: ServerConfig,
        ledger: Ledger,
        second_level: SecondLevel | None = None,
    ) -> None:
        self._dispatcher, self._config, self._ledger = dispatcher, config, ledger
        self._refilling: asyncio.Task[None] | None = None
        self._clock = time.monotonic
        self._burn, self.burn_until = 0.0, 0.0
        self.pool: Pool | None = None
        self.refill: Refill | None = None
        self.cache: Cache | None = None
        self.second_level = second_level
        self.flights, self._counts = Flights(), _Counts()
        if config.pool_bytes:
            runtimes = {runtime.identity: runtime for runtime in dispatcher.engines}
            latest = [repository.find(table).identity for table in repository.tables]
            self._refill_config = RefillConfig()
            self.pool = Pool(
                PoolConfig(config.pool_bytes, config.pool_age_seconds, config.pool_max_reuse),
                list(runtimes),
            )
            self._demand = Demand(self._refill_config.half_life, now=self._clock())
            self._pool_model = LatencyModel()
            self.refill = Refill(
                self.pool,
                self._demand,
                runtimes,
                latest,
                dispatcher.draw_ahead,
                self.load,
                self._refill_config,
            )
        if config.cache_bytes or second_level is not None:
            self.cache = Cache(CacheConfig(config.cache_bytes, config.cache_age_seconds))

    def start(self) -> None:
        """Begin to refill the pool; inside an event loop."""
        if self.refill is not None:
            self._refilling = asyncio.create_task(self.refill.run())

    async def stop(self) -> None:
        """Make no more rows, and let go of the second level."""
        if self._refilling is not None:
            self._refilling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refilling
        if self.second_level is not None:
            await self.second_level.close()

    def draw_now(self, jobs: Sequence[Plan]) -> list[Drawn | None]:
        """Draw plans that came together, those that neither pool nor cache could answer.

        Returns:
            As `Dispatcher.draw_now`; None: `to` is to be awaited.
        """
        fresh = [at for at, job in enumerate(jobs) if not self._may_know(job)]
        out: list[Drawn | None] = [None] * len(jobs)
        drawn = self._dispatcher.draw_now([jobs[at] for at in fresh])
        for at, each in zip(fresh, drawn, strict=True):
            out[at] = each
        return out

    def _may_know(self, job: Plan) -> bool:
        if job.seeded:
            return self.cache is not None and job.total <= self.cache.config.most_rows
        return self.pool is not None and pooled.poolable(job, self.pool.config)

    async def to(self, job: Plan) -> Answer:
        """The answer to a plan, and whose rows they are.

        Raises:
            DeadlinePassed, TooMuch: as `Dispatcher.draw`.
        """
        if job.seeded:
            if self.cache is not None and job.total <= self.cache.config.most_rows:
                return await self._cached(self.cache, job)
        elif self.pool is not None and pooled.poolable(job, self.pool.config):
            response = self._pooled(self.pool, job)
            if response is not None:
                return response, Tier.TEACHER
        return await self._drawn(job)

    def describe(self, out: pb.GetStatisticsResponse) -> None:
        """Fill in what is known of pool and cache."""
        if (pool := self.pool_statistics()) is not None:
            counts = asdict(pool)
            del counts["releases"]
            out.pool.CopyFrom(pb.PoolStatistics(**counts))
            for runtime in self._dispatcher.engines:
                manifest, of = runtime.release.manifest, pool.releases[runtime.identity]
                out.pool.releases.add(table=manifest.table, version=manifest.version, **asdict(of))
        if (cache := self.cache_statistics()) is not None:
            out.cache.CopyFrom(pb.CacheStatistics(**asdict(cache)))

    def pool_statistics(self) -> PoolStatistics | None:
        """Of the pool, where there is one."""
        return None if self.pool is None else self.pool.statistics()

    def cache_statistics(self) -> CacheStatistics | None:
        """Of the cache, where there is one."""
        if self.cache is None:
            return None
        return CacheStatistics(
            **asdict(self._counts),
            entries=len(self.cache),
            bytes=self.cache.bytes,
            evicted=self.cache.evicted,
            second_level_failures={} if self.second_level is None else self.second_level.failures,
        )

    async def _drawn(self, job: Plan, route: Route | None = None) -> Answer:
        drawn = await self._dispatcher.draw(job, route)
        if job.total <= self._config.inline_rows:
            response = synthesis.pack(job, drawn)
        else:
            # A large answer is packed out of the event loop's way.
            response = await asyncio.get_running_loop().run_in_executor(
                self._dispatcher.student_thread, partial(synthesis.pack, job, drawn)
            )
        recycle(job.rng)
        return response, drawn.option.tier

    def _pooled(self, pool: Pool, job: Plan) -> pb.SynthesizeResponse | None:
        keys, now = pooled.keys_of(job), self._clock()
        for key in keys:
            self._demand.note(key, job.draws, now)
        seconds, remaining = self._pool_model.tail(job.total), job.work.remaining()
        if not fits(seconds, remaining):
            return None
        taken = pool.take(keys, job.draws, now)
        if taken is None:
            return None
        route = None
        if job.explain:
            option = Option(Tier.TEACHER, taken.steps, seconds, from_pool=True)
            options = (option, *self._dispatcher.options(job))
            route = choose(options, remaining, job.wanted)
        response = pooled.pack(job, taken, route, time.perf_counter())
        self._pool_model.observe(job.total, time.perf_counter() - job.encoded_at)
        return response

    async def _cached(self, cache: Cache, job: Plan) -> Answer:
        """From the cache; else drawn, once for all equal requests that are underway.

        AUTO is given the teacher's answer where there is one: nothing is of higher fidelity, and
        nothing faster. Else the deadline decides who draws, and the answer is kept as theirs.
        """
        passes = max(1, job.runtime.passes(job.encoded.observed))
        tier, steps = Tier.TEACHER, passes
        if job.wanted is Wanted.FAST:
            tier, steps = Tier.STUDENT, 1
        key = key_of(job, tier, steps)
        content = cache.get(key, self._clock())
        route = None
        if content is None:
            route = self._dispatcher.route(job)
            option = route.option
            if option is not None and (option.tier, option.steps) != (tier, steps):
                tier, steps = option.tier, option.steps
                key = key_of(job, tier, steps)
                content = cache.get(key, self._clock())
        if content is not None:
            self._counts.hits += 1
            return self._again(job, content)
        answers: list[Answer] = []

        async def make() -> bytes:
            if (found := await self._look_elsewhere(job, key)) is not None:
                cache.put(key, found, self._clock())
                return found
            self._counts.misses += 1
            answer = await self._drawn(job, route)
            answers.append(answer)
            made, by = answer[0].SerializeToString(), key
            if answer[1] is not tier:
                by = key_of(job, Tier.STUDENT, 1)
            cache.put(by, made, self._clock())
            if self.second_level is not None:
                self.second_level.put(by, made)
            if by is not key:
                raise _OvertakenError
            return made

        try:
            content, of_another = await self.flights.once(key, make, job.work.remaining)
        except _OvertakenError:
            return answers[0]
        if answers:
            return answers[0]
        self._counts.joined += of_another
        return self._again(job, content)

    async def _look_elsewhere(self, job: Plan, key: bytes) -> bytes | None:
        if self.second_level is None:
            return None
        found = await self.second_level.get(key, job.work.remaining())
        if found is None:
            return None
        try:
            pb.SynthesizeResponse.FromString(found)
        except DecodeError:
            # Whole, but not what this version of the server writes.
            self.second_level.corrupt()
            return None
        self._counts.second_level_hits += 1
        return found

    def _again(self, job: Plan, content: bytes) -> Answer:
        """An answer that was given before, with this one's own timings."""
        found = time.perf_counter()
        response = pb.SynthesizeResponse.FromString(content)
        provenance = response.provenance
        provenance.cached = True
        provenance.ClearField("routing")
        tier = Tier.TEACHER if provenance.tier == pb.TIER_TEACHER else Tier.STUDENT
        if job.explain:
            options = self._dispatcher.options(job)
            synthesis.explain(choose(options, job.work.remaining(), job.wanted), provenance.routing)
            provenance.routing.reason = CACHED
        synthesis.fill_timings(job, provenance.timings, 0.0, found)
        return response, tier

    def load(self, busy: float) -> Load:
        """What the server does beside making rows, which takes `busy` cores."""
        now = self._clock()
        if now >= self.burn_until:
            self._burn = worst_burn(self._ledger.report())
            self.burn_until = now + self._refill_config.report_seconds
        return Load(
            inside=sum(self._dispatcher.gate.inside.values()),
            since_offline=now - self._dispatcher.last_offline,
            burn=self._burn,
            busy=busy,
        )
