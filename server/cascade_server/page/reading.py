"""A reading of all counters, and the difference between two readings.

All counters of a server only grow. A reading has their values at one time, but only those that were
ever counted: of hundreds of tables, few are used at the same time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from cascade_proto import synthesis_pb2 as pb
from numpy.typing import NDArray

from cascade_server.counts.shared.books import Books
from cascade_server.counts.shared.call_counts import OK, Key, RowKey, added
from cascade_server.counts.shared.sketches import SLOT
from cascade_server.terms import ServiceClass, Tier

K = TypeVar("K")
# Latencies of a table and class over all tiers: counts [BINS], as in a sketch.
Sketch = NDArray[np.int64]
Served = tuple[str, ServiceClass]


@dataclass(frozen=True)
class Reading:
    """Counts since the server began, without zeros.

    Attributes:
        at: monotonic seconds.
        calls: by table, class, tier and ending.
        rows: by table, class and tier.
        pooled: by table, requests that the pool answered.
        outside: by table, column and kind, values that were never learnt.
    """

    at: float
    calls: Mapping[Key, int] = field(default_factory=dict)
    rows: Mapping[RowKey, int] = field(default_factory=dict)
    pooled: Mapping[str, int] = field(default_factory=dict)
    outside: Mapping[tuple[str, str, str], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """The counts of a period.

    Attributes:
        seconds: length of the period.
        calls, rows, pooled, outside: as in a reading.
        sketches: latencies of the answers.
    """

    seconds: float
    calls: Mapping[Key, int] = field(default_factory=dict)
    rows: Mapping[RowKey, int] = field(default_factory=dict)
    pooled: Mapping[str, int] = field(default_factory=dict)
    outside: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    sketches: Mapping[Served, Sketch] = field(default_factory=dict)


def kind_of(kind: pb.OutsideKind.ValueType) -> str:
    """Return how a value differs from what was learnt, in the words of the metrics: "above"."""
    return pb.OutsideKind.Name(kind).removeprefix("OUTSIDE_KIND_").lower()


def reading_of(books: Books, statistics: pb.GetStatisticsResponse, at: float) -> Reading:
    """Return the current counts."""
    durations, _, rows = added([book.calls for book in books.places])
    counts, first = durations.sum(axis=1), books.places[0].calls
    pooled: dict[str, int] = {}
    for each in statistics.pool.releases:
        pooled[each.table] = pooled.get(each.table, 0) + each.hits
    return Reading(
        at=at,
        calls={first.keys[place]: int(counts[place]) for place in np.flatnonzero(counts)},
        rows={first.row_keys[place]: int(rows[place]) for place in np.flatnonzero(rows)},
        pooled=pooled,
        outside={
            (each.table, each.column, kind_of(each.kind)): each.values
            for each in statistics.outside
        },
    )


def step_between(before: Reading, now: Reading, sketches: Mapping[Served, Sketch]) -> Step:
    """Return the counts between two readings."""
    return Step(
        seconds=max(now.at - before.at, 1e-3),
        calls=grown(before.calls, now.calls),
        rows=grown(before.rows, now.rows),
        pooled=grown(before.pooled, now.pooled),
        outside=grown(before.outside, now.outside),
        sketches=sketches,
    )


def grown(before: Mapping[K, int], now: Mapping[K, int]) -> dict[K, int]:
    """Return the growth of counts that have grown.

    A count that fell belongs to a new process, whose predecessor's last counts are lost.
    """
    return {
        key: number - before.get(key, 0)
        for key, number in now.items()
        if number > before.get(key, 0)
    }


class SketchReader:
    """Reads the latencies recorded since the last reading.

    A sketch's slot starts empty and is dropped an hour later. Between two readings at most one slot
    ends, so two slots are read.

    Args:
        books: the books to read.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        self._places = {key: place for place, key in enumerate(books.sketched)}
        # By slot and by position among the sketches.
        self._seen: dict[int, dict[int, Sketch]] = {}
        self._is_first = True

    def look(self, now: float, calls: Mapping[Key, int]) -> dict[Served, Sketch]:
        """Return the new latencies; the first call only records the starting point.

        Args:
            now: time on the books' clock.
            calls: calls of a reading; keys without answers are skipped.
        """
        slot = math.floor(now / SLOT)
        answered = {
            (table, service, tier)
            for table, service, tier, ending in calls
            if ending is OK and isinstance(tier, Tier)
        }
        keys = sorted(place for key, place in self._places.items() if key in answered)
        found: dict[Served, Sketch] = {}
        seen: dict[int, dict[int, Sketch]] = {}
        for each in (slot - 1, slot):
            parts = [book.sketches.of_slot(each, keys) for book in self._books.places]
            counts = np.sum(parts, axis=0)
            before = self._seen.get(each, {})
            seen[each] = {}
            for key, now_there in zip(keys, counts, strict=True):
                if not now_there.any():
                    continue
                seen[each][key] = now_there
                new = np.maximum(now_there - before.get(key, 0), 0)
                if self._is_first or not new.any():
                    continue
                table, service, _ = self._books.sketched[key]
                served = (table, service)
                found[served] = found[served] + new if served in found else new
        self._seen, self._is_first = seen, False
        return found
