"""Answers checked requests: from the pool, from the cache, or by a draw.

A request without a seed may get rows from the pool, where each row is used once by default. A
request with a seed never does, but may be answered from the cache. Both are looked up in the turn
of the request, and all requests without a result are drawn together. Only a request that has to
wait, for the teacher, for an equal request in flight or for a shared cache, is left for later.
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

# The result of a request in a turn: its answer, an error, or None if it has to wait.
Outcome: TypeAlias = Answer | Exception | None


class Answers:
    """Answers requests that have been checked.

    Attributes:
        pooled, cached: the pool and the cache; None if there is none.
        burn_until: when to check the burn rates of error budgets again, on the clock of deadlines.

    Args:
        dispatcher: draws what pool and cache do not have.
        repository: the releases that the pool serves.
        config: sizes of pool and cache; 0 bytes for none.
        ledger: the real-time objectives; the pool is not refilled while their budgets burn.
        second_level: a cache that servers share; None if there is none.
        metering: counts time that is spent for no request, or after a wait.
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
        """Return the identities of the releases that answer requests without a version."""
        find = self._repository.find
        return [find(table).identity for table in self._repository.tables]

    def start(self) -> None:
        """Start refilling the pool; call it inside an event loop."""
        if self.pooled is not None:
            self.pooled.start()

    async def stop(self) -> None:
        """Stop making rows, and close the second level."""
        if self.pooled is not None:
            await self.pooled.stop()
        if self._second_level is not None:
            await self._second_level.close()

    def answer_now(self, requests: Sequence[CheckedRequest]) -> list[Outcome]:
        """Answer requests that arrived together, except those that have to wait.

        All requests that pool and cache cannot answer are drawn in one run of the student. Of equal
        requests with a seed, the first is drawn and the others get its rows.

        Returns:
            An outcome for each request; if it is None, `answer` has to be awaited.
        """
        self._dispatcher.gate.turn_begins(len(requests))
        self._last_call = self._clock()
        out: list[Outcome] = [None] * len(requests)
        turn = _Turn()
        began = time.perf_counter()
        for place, request in enumerate(requests):
            try:
                out[place] = self._look(place, request, turn)
            except Exception as exc:  # of one request: the others of its turn are answered
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
            except Exception as exc:  # of one answer: what was drawn for the others is good
                out[place] = exc
            began = _charged(request, began)
        return out

    def _look(self, place: int, request: CheckedRequest, turn: _Turn) -> Answer | None:
        """Look a request up in pool or cache.

        If neither has an answer, the request is added to those that the turn draws, unless it has
        to wait for an equal one.
        """
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
        """Wait for the answer to a request that `answer_now` could not answer.

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
            # An answer of many rows is decoded outside the event loop.
            answer, seconds = await asyncio.get_running_loop().run_in_executor(
                self._dispatcher.student_thread, timed, drawn_answer, request, drawn
            )
        request.spent.seconds += seconds
        return answer

    def describe(self, out: pb.GetStatisticsResponse) -> None:
        """Fill in the statistics of pool and cache."""
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
        """Return the counts of the pool; None if there is none."""
        return None if self.pooled is None else self.pooled.statistics()

    def cache_statistics(self) -> CacheStatistics | None:
        """Return the counts of the cache; None if there is none."""
        return None if self.cached is None else self.cached.statistics()

    def load(self, busy: float) -> Load:
        """Return the server's load besides refilling the pool, which uses `busy` cores."""
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
    """Charge a request of a turn for the time since `began`; return the time now."""
    now = time.perf_counter()
    request.spent.seconds += now - began
    return now


class _Turn:
    """The requests of a turn that have to be drawn.

    Attributes:
        places: their indices among the turn's requests.
        routes: route of each; None if it has not been decided.
        keys: by index, the cache keys of requests whose answers will be kept.
        equal: by key, the indices of equal requests that get the rows of the key's draw.
    """

    __slots__ = ("equal", "keys", "places", "routes")

    def __init__(self) -> None:
        self.places: list[int] = []
        self.routes: list[Route | None] = []
        self.keys: dict[int, bytes] = {}
        self.equal: dict[bytes, list[int]] = {}
