"""How long a call takes on an otherwise idle server: the time that any server needs for it.

It is learnt from calls that had their process to themselves, and never rises: if a server has
become slow, that is the server's fault and not a caller's with a short deadline.

Nor does a long time count if it was long by choice: AUTO uses the teacher for callers that can
wait, and the student for others. So a call counts only if the lowest tier that was allowed drew all
of its rows, after it arrived: rows from the pool or the cache say nothing about the time of a draw.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import product

from cascade_server.memory import Memory
from cascade_server.terms import ServiceClass, Tier

# Calls before a mean counts, and the weight of one observation from then on.
ENOUGH = 16
# Calls are grouped by the logarithm of their rows; the last size has no upper bound.
SIZES = 20
# The calls of one size, except the first, differ in rows by up to a factor of two: the smallest
# takes at least half of their mean time.
SPREAD = 2.0

# The table and class of a call, and the lowest tier that may answer it.
Key = tuple[str, ServiceClass, Tier]


def least_of(service: ServiceClass) -> Tier:
    """Return the lowest tier that may answer a call, as far as its class decides."""
    return Tier.TEACHER if service is ServiceClass.FULL else Tier.STUDENT


class OpenCalls:
    """Detects whether a call had its process to itself, from its arrival to its end."""

    def __init__(self) -> None:
        self._begun = self._open = 0
        self._last_end = float("-inf")

    def begin(self, arrived: float) -> int:
        """Note that the server starts to handle a call.

        Args:
            arrived: when it arrived, monotonic seconds; it may have waited since.

        Returns:
            A ticket, for `end`.
        """
        self._begun += 1
        self._open += 1
        return self._begun if self._open == 1 and arrived >= self._last_end else 0

    def passes(self, now: float) -> None:
        """Note a call that arrived and ended at once; calls in progress are then not alone."""
        self._begun += 1
        self._last_end = now

    def end(self, ticket: int, now: float) -> bool:
        """Note the end of a call; return whether there was no other call in the meantime."""
        self._open -= 1
        self._last_end = now
        return ticket == self._begun


class IdleTimes:
    """Learns how long calls take that are alone, by table, class, lowest tier and size.

    Args:
        tables: the served tables.
        memory: holds the results, so that a process continues with what its predecessor learnt.
    """

    def __init__(self, tables: Collection[str], memory: Memory) -> None:
        keys = list(product(sorted(tables), ServiceClass, Tier))
        self._first = {key: SIZES * number for number, key in enumerate(keys)}
        self._least = memory.floats(SIZES * len(keys)).data.cast("B").cast("d")
        self._means: dict[int, tuple[int, float]] = {}

    def observe(self, key: Key, rows: int, seconds: float) -> None:
        """Note a call that was answered while the process had nothing else to do.

        Args:
            key: see `Key`; ignored if its table is not served.
            rows: drawn rows, at least 1.
            seconds: time from its arrival to its answer.
        """
        first = self._first.get(key)
        if first is None:
            return
        place = first + size_of(rows)
        count, mean = self._means.get(place, (0, 0.0))
        count += 1
        mean += (seconds - mean) / min(count, ENOUGH)
        self._means[place] = count, mean
        if count >= ENOUGH and not 0 < self._least[place] <= mean:
            self._least[place] = mean

    def needed(self, key: Key, rows: int) -> float:
        """Return the seconds that any server needs for a call; 0 if unknown.

        For a size without observations, this is the time of the next smaller size that has some.
        """
        first = self._first.get(key)
        if first is None:
            return 0.0
        if rows <= 1:
            return self._least[first]
        for size in range(size_of(rows), -1, -1):
            if (seconds := self._least[first + size]) > 0:
                return seconds / SPREAD if size else seconds
        return 0.0


def size_of(rows: int) -> int:
    """Return the size of a number of rows: 0 for one, 1 for two and three, 2 for 4 to 7, …"""
    return min(max(rows, 1).bit_length() - 1, SIZES - 1)
