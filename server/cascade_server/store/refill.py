"""Makes rows for the pool while the teacher has nothing else to do.

A row is worth more the sooner it is expected to be given out: for a condition that is requested r
times a second and has s rows, the next row will be given out in (s + 1) / r seconds. The rows that
will be given out first are made first, and none that would wait too long. Before each small batch,
the server's other load decides whether to make anything.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cascade_server.engines.runtime import Runtime, Tokens
from cascade_server.engines.teacher import TeacherInput
from cascade_server.errors import NotReady
from cascade_server.objectives.objective import Kind
from cascade_server.objectives.report import Report
from cascade_server.store.pool import Demand, Key, Pool, condition_of, nothing_known, of_condition
from cascade_server.terms import ServiceClass

log = logging.getLogger("cascade.server")

# Keys to look at before the event loop gets a turn.
SLICE = 64
# Seconds until the next attempt after the teacher failed.
AFTER_FAILURE = 5.0
# Seconds over which the process's load is measured.
LEAST_PAUSE = 0.01


@dataclass(frozen=True)
class RefillConfig:
    """How many rows to make, and when.

    Attributes:
        batch: the most rows of a batch: a real-time request waits for at most one pass of it.
        horizon: seconds; no row is made that is expected to wait longer.
        half_life: seconds after which a past request counts half as much.
        base_rows: rows without known columns to keep, even if nothing was requested.
        most_share: largest share of the time, used if there is no other load.
        least_share: below this share, nothing is made.
        most_burn: if a real-time objective has a higher burn rate over 5 minutes, nothing is made.
        after_offline: seconds without refilling after `Generate` has drawn.
        after_call: seconds after a real-time call in which no batch starts: rows are made in the
            gaps between calls. A caller that sends its next call as soon as it is answered leaves
            no gaps; refilling would take some of the caches and the clock rate from it. At a
            hundred calls a second at random times, three of five checks still find a gap.
        tick: seconds until the next check if nothing was made.
        longest_tick: upper limit of that pause, which doubles while there are no requests: in that
            time, rows can only grow old.
        report_seconds: how long a reading of the error budgets stays valid.
    """

    batch: int = 16
    horizon: float = 300.0
    half_life: float = 300.0
    base_rows: int = 64
    most_share: float = 0.5
    least_share: float = 0.05
    most_burn: float = 1.0
    after_offline: float = 1.0
    after_call: float = 0.005
    tick: float = 0.1
    longest_tick: float = 2.0
    report_seconds: float = 2.0


class Candidate(NamedTuple):
    """A condition that rows may be made for: requested `rate` times a second, with `stock` rows."""

    key: Key
    rate: float
    stock: int

    def next_use(self, more: int = 1) -> float:
        """Return the seconds until the row after `more` - 1 new ones will probably be given out."""
        return (self.stock + more) / self.rate if self.rate > 0 else math.inf


@dataclass(frozen=True)
class Load:
    """The server's other load.

    Attributes:
        inside: requests of any class that are being drawn.
        since_offline: seconds since `Generate` last drew.
        burn: the highest burn rate of a real-time objective.
        busy: cores that the process used while nothing was made.
        since_call: seconds since real-time calls were last answered.
    """

    inside: int
    since_offline: float
    burn: float
    busy: float
    since_call: float = math.inf


def share(load: Load, config: RefillConfig) -> float:
    """Return the share of the time in which rows may be made; 0 for none now."""
    if load.inside or load.since_offline < config.after_offline or load.burn > config.most_burn:
        return 0.0
    if load.since_call < config.after_call:
        return 0.0
    found = config.most_share * max(0.0, 1.0 - load.busy)
    return found if found >= config.least_share else 0.0


def rest(seconds: float, share: float, config: RefillConfig) -> float:
    """Return the seconds to pause after a batch of `seconds`; a tick if none was made."""
    return seconds * (1 - share) / share if seconds > 0 and share > 0 else config.tick


def worst_burn(report: Report) -> float:
    """Return the highest burn rate over 5 minutes of the real-time objectives.

    Fidelity is left out: it burns if rows do not come from the teacher, which the pool improves.
    """
    return max(
        (
            status.burn_rates["5m"]
            for status in report.statuses
            if status.objective.service is not ServiceClass.OFFLINE
            and status.objective.kind is not Kind.FIDELITY
        ),
        default=0.0,
    )


def soonest(candidates: Iterable[Candidate], most: int) -> list[Candidate]:
    """Return the candidates whose next row is expected to be given out first."""
    return heapq.nsmallest(most, candidates, key=Candidate.next_use)


def batch_of(candidates: Sequence[Candidate], most: int, horizon: float) -> dict[Key, int]:
    """Return how many rows to make by key: the `most` that are given out soonest, of one release.

    Args:
        candidates: soonest first.
        most: number of rows.
        horizon: seconds; leave out rows that are expected to wait longer.
    """
    if not candidates:
        return {}
    release = candidates[0].key.release
    queue = [
        (each.next_use(), order, each)
        for order, each in enumerate(candidates)
        if each.key.release == release
    ]
    heapq.heapify(queue)
    made: dict[Key, int] = {}
    while queue and sum(made.values()) < most:
        seconds, order, each = queue[0]
        if seconds > horizon:
            break
        made[each.key] = made.get(each.key, 0) + 1
        heapq.heapreplace(queue, (each.next_use(made[each.key] + 1), order, each))
    return made


def horizon_after(horizon: float, evicted: Sequence[float], room: float, most: float) -> float:
    """Return how long rows may be expected to wait, once the pool is full.

    A new row must be given out sooner than the row dropped for it; otherwise the teacher would make
    and drop the same rows for ever.

    Args:
        horizon: the previous horizon, in seconds.
        evicted: expected waits, in seconds, of the rows dropped for the last batch.
        room: free share of the pool.
        most: horizon of a pool with room, in seconds.
    """
    if evicted:
        return min(horizon, 0.8 * min(evicted))
    return most if room > 0.1 else min(most, 1.05 * horizon)


async def paused(seconds: float) -> float:
    """Sleep; return the cores that the process used in that time."""
    began, used = time.perf_counter(), time.process_time()
    await asyncio.sleep(max(seconds, LEAST_PAUSE))
    return (time.process_time() - used) / (time.perf_counter() - began)


class Refill:
    """Makes rows for a pool for as long as it runs.

    Args:
        pool, demand: the rows, and the demand for them.
        runtimes: releases by `Runtime.identity`.
        base: returns the releases for which rows without known columns are made, even without
            requests.
        draw: has the teacher draw rows as offline work.
        load: returns the server's other load, given the cores it used during a pause.
        pause: pauses for so many seconds, and returns those cores.
        rng: generator of the noise.
    """

    def __init__(
        self,
        pool: Pool,
        demand: Demand,
        runtimes: Mapping[str, Runtime],
        base: Callable[[], Iterable[str]],
        draw: Callable[[Runtime, TeacherInput], Awaitable[Tokens]],
        load: Callable[[float], Load],
        config: RefillConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[float]] | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.pool, self.demand, self.config = pool, demand, config or RefillConfig()
        self._runtimes, self._draw, self._load, self._clock = runtimes, draw, load, clock
        self._pause = pause or paused
        self._rng = rng or np.random.default_rng()
        self._horizon = self.config.horizon
        self._base_now, self._base = base, dict[Key, None]()
        self._whole_rows = {
            name: Key(name, condition_of(*nothing_known(runtime.slots)))
            for name, runtime in runtimes.items()
        }

    async def run(self) -> None:
        """Make rows whenever there is room and time for them, until cancelled."""
        pause = quiet = self.config.tick
        while True:
            noted = self.demand.noted
            busy = await self._pause(pause)
            began, made = self._clock(), 0
            try:
                allowed = share(self._load(busy), self.config)
                if allowed:
                    made = await self.fill()
            except NotReady:  # no teacher yet, as when a server starts
                pause = AFTER_FAILURE
                continue
            except Exception:  # the teacher's error; requests that need the teacher report it
                log.exception("the pool was not refilled")
                pause = AFTER_FAILURE
                continue
            if made:
                pause = rest(self._clock() - began, allowed, self.config)
                quiet = self.config.tick
                continue
            # Whether refilling is allowed is checked again soon; that there is nothing to make,
            # less often.
            is_quiet = allowed and noted == self.demand.noted
            quiet = min(2 * quiet, self.config.longest_tick) if is_quiet else self.config.tick
            pause = quiet

    async def fill(self) -> int:
        """Make one batch; return its number of rows."""
        candidates = await self._candidates()
        wanted = batch_of(candidates, self.config.batch, self._horizon)
        if not wanted:
            return 0
        runtime = self._runtimes[next(iter(wanted)).release]
        keys = [key for key, rows in wanted.items() for _ in range(rows)]
        conditions = [of_condition(key.condition, runtime.slots) for key in keys]
        tokens = np.stack([tokens for tokens, _ in conditions])
        observed = np.stack([observed for _, observed in conditions])
        noise = await self._noise(len(keys), runtime.teacher_noise)
        given = TeacherInput(tokens, observed, noise, runtime.steps)
        drawn = np.asarray(await self._draw(runtime, given), np.int32)
        now = self._clock()
        for key in wanted:
            mine = [row.tobytes() for each, row in zip(keys, drawn, strict=True) if each == key]
            steps = runtime.passes(observed[keys.index(key)][None])
            self.pool.add(key, mine, max(1, steps), now)
        self._make_room(now)
        return len(keys)

    def _make_room(self, now: float) -> None:
        evicted: list[float] = []

        def next_use(key: Key, rows: int) -> float:
            return Candidate(key, self._rate(key, now), rows).next_use(0)

        self.pool.make_room(next_use, evicted.append)
        room = 1 - self.pool.bytes / self.pool.config.max_bytes
        self._horizon = horizon_after(self._horizon, evicted, room, self.config.horizon)

    def _rate(self, key: Key, now: float) -> float:
        base = self.config.base_rows / self.config.horizon if key in self._base else 0.0
        return max(base, self.demand.rate(key, now))

    async def _candidates(self) -> list[Candidate]:
        """Return the most wanted candidates; the event loop gets a turn after every few keys."""
        now = self._clock()
        self.pool.sweep(now)
        # In order: of equally wanted conditions, the first one's rows are made first.
        self._base = dict.fromkeys(self._whole_rows[name] for name in self._base_now())
        best = [Candidate(key, self._rate(key, now), self.pool.stock(key)) for key in self._base]
        for start in range(0, len(self.demand), SLICE):
            few = [
                Candidate(key, rate, self.pool.stock(key))
                for key, rate in self.demand.rates(start, start + SLICE, now)
                if key not in self._base
            ]
            best = soonest([*best, *few], self.config.batch)
            await asyncio.sleep(0)
        return soonest(best, self.config.batch)

    async def _noise(self, rows: int, width: int) -> NDArray[np.float32]:
        noise = np.empty((rows, width), np.float32)
        for row in noise:
            self._rng.random(dtype=np.float32, out=row)
            await asyncio.sleep(0)
        return noise
