"""The last minute and the last hour: rates and percentiles, in bounded memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
from cascade_proto import synthesis_pb2 as pb
from numpy.typing import NDArray

from cascade_server.counts.shared.books import Books
from cascade_server.counts.shared.call_counts import OK
from cascade_server.counts.shared.sketches import quantile
from cascade_server.objectives.blame import BLAMED
from cascade_server.page.reading import (
    Reading,
    Served,
    Sketch,
    SketchReader,
    Step,
    reading_of,
    step_between,
)
from cascade_server.terms import ServiceClass, Tier

K = TypeVar("K")
# Seconds of a step; steps of a minute, of five minutes, and of the hour that is kept.
STEP, MINUTE, FIVE_MINUTES, HOUR = 10.0, 6, 30, 360
# Values kept for each step, table and class; rates are per second, times in seconds.
FIELDS = ("answered", "failed", "faults", "student", "teacher", "rows", "p50", "p99")
# Tables and classes with a past of their own; any that are first used later have none.
MOST_SERIES = 400
# The table name for the past of all tables together.
EVERY = ""


class Past:
    """The events of the last hour, in steps of ten seconds.

    Only one thread may use it.

    Args:
        books: provide the counts.
        statistics: returns the statistics of all processes.
        wall, clock: seconds since 1970-01-01 UTC, and monotonic ones.
    """

    def __init__(
        self,
        books: Books,
        statistics: Callable[[], pb.GetStatisticsResponse],
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._books, self._statistics, self._wall, self._clock = books, statistics, wall, clock
        self._sketches = SketchReader(books)
        self._begun = self.reading = Reading(clock())
        self._open = Step(0.0)
        self._closed: deque[Step] = deque(maxlen=FIVE_MINUTES)
        self._ends: deque[float] = deque(maxlen=HOUR)
        self._series: dict[Served, NDArray[np.float32]] = {}
        self._steps = 0
        self.found = pb.GetStatisticsResponse()
        self.look()
        # Earlier counts do not belong to the first step.
        self._begun, self._open = self.reading, Step(0.0)

    def look(self) -> None:
        """Read all counters; after ten seconds, close the step and keep it."""
        self.found = self._statistics()
        self.reading = reading_of(self._books, self.found, self._clock())
        new = self._sketches.look(self._books.clock(), self.reading.calls)
        self._open = step_between(self._begun, self.reading, summed(self._open.sketches, new))
        if self._open.seconds >= STEP - 0.05:
            self._close()

    def _close(self) -> None:
        if len(self._closed) >= MINUTE:
            # Percentiles are not needed for steps before the last minute.
            old = self._closed[-MINUTE]
            self._closed[-MINUTE] = Step(old.seconds, old.calls, old.rows, old.pooled, old.outside)
        place = self._steps % HOUR
        for series in self._series.values():
            series[place] = 0
        for served, values in values_of(self._open).items():
            if served not in self._series:
                if len(self._series) >= MOST_SERIES:
                    continue
                self._series[served] = np.zeros((HOUR, len(FIELDS)), np.float32)
            self._series[served][place] = values
        self._closed.append(self._open)
        self._ends.append(self._wall())
        self._steps += 1
        self._begun, self._open = self.reading, Step(0.0)

    @property
    def steps(self) -> int:
        """Number of steps so far; a client that has seen this many need not fetch the past."""
        return self._steps

    def last_minute(self) -> Step:
        """Return the counts of the last minute, plus those of the open step."""
        return together([*list(self._closed)[-MINUTE:], self._open])

    def last_five_minutes(self) -> Step:
        """Return the same for five minutes, without latencies of the first four."""
        return together([*self._closed, self._open])

    def series(self, table: str, service: ServiceClass) -> dict[str, Any]:
        """Return the last hour of a table (`EVERY`: all tables) and class.

        Returns:
            "at": when each step ended, seconds since 1970-01-01 UTC; and a list of equal length for
            each of `FIELDS`. Percentiles are None for steps without answers.
        """
        known = self._series.get((table, service))
        order = [number % HOUR for number in range(max(0, self._steps - HOUR), self._steps)]
        out: dict[str, Any] = {"at": [round(each, 1) for each in self._ends]}
        values = np.zeros((HOUR, len(FIELDS)), np.float32) if known is None else known
        for number, name in enumerate(FIELDS):
            is_time = name.startswith("p")
            out[name] = [
                None if is_time and not value else float(f"{value:.4g}")
                for value in values[order, number].tolist()
            ]
        return out


def values_of(step: Step) -> dict[Served, list[float]]:
    """Return the values to keep of a step, by table and class, and by class over all tables."""
    found: dict[Served, list[float]] = {}
    sketches: dict[Served, Sketch] = dict(step.sketches)

    def add(served: Served, field: str, number: float) -> None:
        for each in (served, (EVERY, served[1])):
            values = found.setdefault(each, [0.0] * len(FIELDS))
            values[FIELDS.index(field)] += number / step.seconds

    for (table, service, tier, ending), calls in step.calls.items():
        served = table, service
        if ending is OK:
            add(served, "answered", calls)
            if tier is not None:
                add(served, "student" if tier is Tier.STUDENT else "teacher", calls)
        else:
            add(served, "failed" if ending in BLAMED else "faults", calls)
    for (table, service, _), rows in step.rows.items():
        add((table, service), "rows", rows)
    for (_, service), counts in step.sketches.items():
        every = (EVERY, service)
        sketches[every] = sketches[every] + counts if every in sketches else counts
    for served, counts in sketches.items():
        values = found.setdefault(served, [0.0] * len(FIELDS))
        values[-2:] = quantile(counts, 0.5), quantile(counts, 0.99)
    return found


def together(steps: Iterable[Step]) -> Step:
    """Combine several steps into one."""
    steps = list(steps)
    return Step(
        seconds=max(sum(each.seconds for each in steps), 1e-3),
        calls=totals(each.calls for each in steps),
        rows=totals(each.rows for each in steps),
        pooled=totals(each.pooled for each in steps),
        outside=totals(each.outside for each in steps),
        sketches=summed(*(each.sketches for each in steps)),
    )


def totals(parts: Iterable[Any]) -> dict[Any, int]:
    """Add up the counts of several steps by key."""
    out: dict[Any, int] = {}
    for part in parts:
        for key, number in part.items():
            out[key] = out.get(key, 0) + number
    return out


def summed(*parts: Any) -> dict[Served, Sketch]:
    """Add up the latencies of several steps by table and class."""
    out: dict[Served, Sketch] = {}
    for part in parts:
        for key, counts in part.items():
            out[key] = out[key] + counts if key in out else counts
    return out
