"""Where an answer comes from: rows made ahead of time, an equal request's answer, or a draw.

A request without a seed may be given pooled rows and is never answered twice alike; one with a seed
is never given them, and may be answered from the cache. Both are asked within the turn in which
requests are taken, and those that neither can answer are drawn together; only what has to wait, for
the teacher, for an equal request that is underway or for another server, is left for later.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TypeAlias

from cascade_proto import synthesis_pb2 as pb

from cascade_server.cascade.answer import Answer, drawn_answer
from cascade_server.cascade.dispatch import Dispatcher
from cascade_server.cascade.repository import Repository
from cascade_server.cascade.request import CheckedRequest
from cascade_server.cascade.router import Route
from cascade_server.config import ServerConfig
from cascade_server.counts.ledger import Ledger
from cascade_server.counts.metering import Metering
from cascade_server.engines.spent import timed
from cascade_server.store.cache import CacheConfig
from cascade_server.store.cached_answers import CachedAnswers, CacheStatistics
from cascade_server.store.pool import PoolConfig, PoolStatistics
from cascade_server.store.pooled_answers import PooledAnswers
from cascade_server.store.refill import Load, RefillConfig, worst_burn
from cascade_server.store.second_level import SecondLevel

# Of a request in its turn: its answer, what went wrong with it, or None: it has to wait.
Outcome: TypeAlias = Answer | Exception | None


class Answers:
    """Answers requests that have been checked.

    Attributes:
        pooled, cached: None where there is no pool, or no cache.
        burn_until: when to look again how fast error budgets burn, on the clock of deadlines.

    Args:
        dispatcher: draws.
        repository: whose releases the pool is for.
        config: how large pool and cache are; 0 bytes: there is none.
        ledger: says how real-time objectives are kept.
        second_level: of the cache, where there is one.
        metering: is told of what is done for nobody, and of what a wait has taken.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        repository: Repository,
        config: ServerConfig,
        ledger: Ledger,
        second_level: SecondLevel | None = None,
        metering: Metering | None = None,
    ) -> None:
        self._dispatcher, self._config, self._ledger = dispatcher, config, ledger
        self._repository = repository
        self._metering = metering or Metering(ledger.book.compute)
        self._clock = time.monotonic
        self._burn, self.burn_until, self._last_call = 0.0, 0.0, -math.inf
        self._refill = RefillConfig()
        self.pooled: PooledAnswers | None = None
        self.cached: CachedAnswers | None = None
        self._second_level = second_level
        if config.pool_bytes:
            kept = PoolConfig(config.pool_bytes, config.pool_age_seconds, config.pool_max_reuse)
            self.pooled = PooledAnswers(
                kept,
                dispatcher,
                self._latest,
                self.load,
                self._clock,
                self._refill,
                self._metering,
            )
        if config.cache_bytes or second_level is not None:
            caches = CacheConfig(config.cache_bytes, config.cache_age_seconds)
            self.cached = CachedAnswers(
                caches, dispatcher, config.inline_rows, second_level, self._clock
            )

    def _latest(self) -> list[str]:
        """The releases that answer now who names no version."""
        find = self._repository.find
        return [find(table).identity for table in self._repository.tables]

    def start(self) -> None:
        """Begin to refill the pool; inside an event loop."""
        if self.pooled is not None:
            self.pooled.start()

    async def stop(self) -> None:
        """Make no more rows, and let go of the second level."""
        if self.pooled is not None:
            await self.pooled.stop()
        if self._second_level is not None:
            await self._second_level.close()

    def answer_now(self, requests: Sequence[CheckedRequest]) -> list[Outcome]:
        """Answer requests that came together, as far as none of them has to wait.

        What pool and cache do not have is drawn in one run of the student. Of equal requests with
        a seed the first is drawn, and the others are given its rows.

        Returns:
            By request, an `Outcome`; where it is None, `answer` is to be awaited.
        """
        self._dispatcher.gate.turn_begins(len(requests))
        self._last_call = self._clock()
        out: list[Outcome] = [None] * len(requests)
        turn = _Turn()
        began = time.perf_counter()
        for place, request in enumerate(requests):
            try:
                out[place] = self._look(place, request, turn)
            except Exception as exc:
                out[place] = exc
            began = _charged(request, began)
        if not turn.places:
            return out
        asked = [requests[place] for place in turn.places]
        found = self._dispatcher.draw_now(asked, turn.routes)
        began = time.perf_counter()
        for place, request, drawn in zip(turn.places, asked, found, strict=True):
            if isinstance(drawn, Exception):
                out[place] = drawn
                continue
            if drawn is None:
                continue
            try:
                answer = out[place] = drawn_answer(request, drawn)
                if request.seeded:
                    self._share(place, answer, turn, requests, out)
            except Exception as exc:
                out[place] = exc
            began = _charged(request, began)
        return out

    def _look(self, place: int, request: CheckedRequest, turn: _Turn) -> Answer | None:
        """What pool or cache have for a request; else it is noted down to be drawn, unless it has
        to wait for another."""
        pooled, cached, route = self.pooled, self.cached, None
        if pooled is not None and pooled.may_have(request):
            answer = pooled.answer(request)
            if answer is not None:
                return answer
        elif cached is not None and cached.may_have(request):
            found = cached.look(request)
            if found.content is not None:
                return cached.hit(request, found.content)
            if cached.must_wait(found.key):
                return None
            if found.key in turn.equal:
                turn.equal[found.key].append(place)
                return None
            turn.equal[found.key], turn.keys[place] = [], found.key
            route = found.route
        turn.places.append(place)
        turn.routes.append(route)
        return None

    def _share(
        self,
        place: int,
        answer: Answer,
        turn: _Turn,
        requests: Sequence[CheckedRequest],
        out: list[Outcome],
    ) -> None:
        """Keep an answer that was drawn, and give it to equal requests of the turn."""
        key = turn.keys.get(place)
        if self.cached is None or key is None:
            return
        content = self.cached.made(key, answer)
        for equal in turn.equal[key]:
            out[equal] = self.cached.joins(requests[equal], content)

    async def answer(self, request: CheckedRequest) -> Answer:
        """Wait for the answer to a request that `answer_now` had none for.

        Raises:
            DeadlinePassed, TooMuch: as `Dispatcher.draw`.
        """
        if self.cached is not None and self.cached.may_have(request):
            return await self.cached.answer(request, self._drawn)
        return await self._drawn(request)

    async def _drawn(self, request: CheckedRequest, route: Route | None = None) -> Answer:
        drawn = await self._dispatcher.draw(request, route)
        if request.total <= self._config.inline_rows:
            answer, seconds = timed(drawn_answer, request, drawn)
            self._metering.apart(seconds)
        else:
            # Many rows are decoded out of the event loop's way.
            answer, seconds = await asyncio.get_running_loop().run_in_executor(
                self._dispatcher.student_thread, timed, drawn_answer, request, drawn
            )
        request.spent.seconds += seconds
        return answer

    def describe(self, out: pb.GetStatisticsResponse) -> None:
        """Fill in what is known of pool and cache."""
        if (pool := self.pool_statistics()) is not None:
            counts = asdict(pool)
            del counts["releases"]
            out.pool.CopyFrom(pb.PoolStatistics(**counts))
            for runtime in self._dispatcher.engines:
                manifest, found = runtime.release.manifest, pool.releases[runtime.identity]
                out.pool.releases.add(
                    table=manifest.table, version=manifest.version, **asdict(found)
                )
        if (cache := self.cache_statistics()) is not None:
            out.cache.CopyFrom(pb.CacheStatistics(**asdict(cache)))

    def pool_statistics(self) -> PoolStatistics | None:
        """Of the pool, where there is one."""
        return None if self.pooled is None else self.pooled.statistics()

    def cache_statistics(self) -> CacheStatistics | None:
        """Of the cache, where there is one."""
        return None if self.cached is None else self.cached.statistics()

    def load(self, busy: float) -> Load:
        """What the server does beside making rows, which takes `busy` cores."""
        self._metering.is_nobodys()
        now = self._clock()
        if now >= self.burn_until:
            self._burn = worst_burn(self._ledger.report())
            self.burn_until = now + self._refill.report_seconds
        return Load(
            inside=sum(self._dispatcher.gate.inside.values()),
            since_offline=now - self._dispatcher.last_offline,
            burn=self._burn,
            busy=busy,
            since_call=now - self._last_call,
        )


def _charged(request: CheckedRequest, began: float) -> float:
    """Charge a request of a turn the time since `began`; returns the time now."""
    now = time.perf_counter()
    request.spent.seconds += now - began
    return now


class _Turn:
    """What of a turn is to be drawn.

    Attributes:
        places, routes: of the requests that are to be drawn, and how each is routed; None: it is
            not yet.
        keys: of those that will be kept, by place.
        equal: places of the requests that wait for the draw of a key.
    """

    __slots__ = ("equal", "keys", "places", "routes")

    def __init__(self) -> None:
        self.places: list[int] = []
        self.routes: list[Route | None] = []
        self.keys: dict[int, bytes] = {}
        self.equal: dict[bytes, list[int]] = {}
