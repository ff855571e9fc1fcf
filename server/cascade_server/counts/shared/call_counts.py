"""Counts of calls and rows for Prometheus, in memory that all processes see."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from itertools import product

import grpc
import numpy as np
from numpy.typing import NDArray

from cascade_server.memory import Memory
from cascade_server.objectives import metric_names as slo_names
from cascade_server.objectives.blame import CallerFault, Ending, caller_fault
from cascade_server.objectives.objective import Objective
from cascade_server.terms import ServiceClass, Tier

# The table of a request that names no existing one: a metric's label has few values.
UNKNOWN_TABLE = "(unknown)"
OK = grpc.StatusCode.OK
Key = tuple[str, ServiceClass, Tier | None, Ending]
RowKey = tuple[str, ServiceClass, Tier]


def buckets(objectives: Collection[Objective]) -> list[float]:
    """Return the bounds of the histogram; a latency objective can only be read at one of them."""
    thresholds = {each.threshold for each in objectives if each.threshold is not None}
    return sorted({*slo_names.BUCKETS, *thresholds})


class CallCounts:
    """A histogram of durations for each possible ending of a call, and rows by tier.

    Args:
        tables: the served tables.
        bounds: bounds of the histogram, in increasing order.
        memory: holds the counts; one process counts, any process may read.
    """

    def __init__(self, tables: Collection[str], bounds: list[float], memory: Memory) -> None:
        ends: list[tuple[Tier | None, Ending]] = [
            *((tier, OK) for tier in Tier),
            *((None, code) for code in grpc.StatusCode),
            (None, CallerFault.DEADLINE_TOO_SHORT),
        ]
        names = [*sorted(tables), UNKNOWN_TABLE]
        self.keys: list[Key] = [
            (table, service, *end) for table, service, end in product(names, ServiceClass, ends)
        ]
        self.row_keys: list[RowKey] = list(product(names, ServiceClass, Tier))
        self.bounds, self._width = bounds, len(bounds) + 1
        self._places = {key: place for place, key in enumerate(self.keys)}
        self._row_places = {key: place for place, key in enumerate(self.row_keys)}
        self.durations = memory.integers(len(self.keys) * self._width).reshape(-1, self._width)
        self.seconds = memory.floats(len(self.keys))
        self.rows = memory.integers(len(self.row_keys))
        # Adding to an element of a memoryview takes a third of NumPy's time.
        self._durations = self.durations.reshape(-1).data
        self._seconds = self.seconds.data.cast("B").cast("d")
        self._rows = self.rows.data

    def record(self, key: Key, seconds: float, calls: int = 1) -> None:
        """Add the end of one or several calls, and the seconds that the server took."""
        place = self._places[key]
        self._durations[place * self._width + bisect_left(self.bounds, seconds)] += calls
        self._seconds[place] += calls * seconds

    def record_rows(self, key: RowKey, rows: int) -> None:
        """Add rows of an answer, by the tier that drew them."""
        self._rows[self._row_places[key]] += rows


def added(
    parts: Iterable[CallCounts],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Sum up durations [keys, bounds + 1], seconds [keys] and rows."""
    found = [(each.durations, each.seconds, each.rows) for each in parts]
    durations, seconds, rows = (
        np.sum(np.stack(parts), axis=0) for parts in zip(*found, strict=True)
    )
    return durations, seconds, rows


def caller_faults(
    parts: Sequence[CallCounts],
) -> dict[tuple[str, ServiceClass, CallerFault], int]:
    """Count the calls that failed through their callers' own fault, if there are any."""
    found: dict[tuple[str, ServiceClass, CallerFault], int] = {}
    calls = added(parts)[0].sum(axis=1).tolist()
    for (table, service, _, ending), number in zip(parts[0].keys, calls, strict=True):
        fault = caller_fault(ending)
        if fault is not None and number:
            key = (table, service, fault)
            found[key] = found.get(key, 0) + number
    return found
