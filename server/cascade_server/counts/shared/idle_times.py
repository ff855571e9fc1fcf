"""How long a call takes while the server does nothing else: what any server needs for it.

It is learnt from calls that had their process to themselves, and never rises: a server that has
become slow is to blame for it, and does not find its callers' deadlines too short.

Nor is an answer that took long what a server needs where it took long by choice: AUTO has the
teacher draw for who can wait, and the student for who cannot. So a call is learnt from where the
lowest tier that was allowed to has drawn for it, and for nobody before it: rows out of the pool or
the cache say nothing of what a draw takes.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import product

from cascade_server.memory import Memory
from cascade_server.terms import ServiceClass, Tier

# Calls before a mean says anything, and the weight of one observation from then on.
ENOUGH = 16
# Calls are told apart by the logarithm of their rows; those of more rows than that count alike.
SIZES = 20
# The calls of one size but the first differ in their rows by up to a factor of two: the least of
# them takes at least half as long as their mean.
SPREAD = 2.0

# The table and class of a call, and the lowest tier that may answer it.
Key = tuple[str, ServiceClass, Tier]


def least_of(service: ServiceClass) -> Tier:
    """The lowest tier that may answer a call of a class, as far as the class says."""
    return Tier.TEACHER if service is ServiceClass.FULL else Tier.STUDENT


class OpenCalls:
    """Knows whether a call had its process to itself, from its arrival to its end."""

    def __init__(self) -> None:
        self._begun = self._open = 0
        self._last_end = float("-inf")

    def begin(self, arrived: float) -> int:
        """A call is taken up.

        Args:
            arrived: when it came, monotonic seconds; it may have waited since.

        Returns:
            A ticket, for `end`.
        """
        self._begun += 1
        self._open += 1
        return self._begun if self._open == 1 and arrived >= self._last_end else 0

    def passes(self, now: float) -> None:
        """A call has come and gone; whoever is being answered meanwhile is not alone."""
        self._begun += 1
        self._last_end = now

    def end(self, ticket: int, now: float) -> bool:
        """A call is over; whether there was no other all the while."""
        self._open -= 1
        self._last_end = now
        return ticket == self._begun


class IdleTimes:
    """Learns what calls take that are alone, by table, class, lowest tier and size.

    Args:
        tables: those that are served.
        memory: where the results lie, so that a process goes on from what the one before it in its
            place has learnt.
    """

    def __init__(self, tables: Collection[str], memory: Memory) -> None:
        keys = list(product(sorted(tables), ServiceClass, Tier))
        self._first = {key: SIZES * number for number, key in enumerate(keys)}
        self._least = memory.floats(SIZES * len(keys)).data.cast("B").cast("d")
        self._means: dict[int, tuple[int, float]] = {}

    def observe(self, key: Key, rows: int, seconds: float) -> None:
        """A call for some rows was answered while there was nothing else to do.

        Args:
            key: as above; those of tables that are not served are left out.
            rows: that were drawn, at least 1.
            seconds: from its arrival to its answer.
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
        """Seconds that any server needs for a call; 0 where nothing is known.

        Of a size that has not been seen it is what the next smaller one takes that has.
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
    """Which size so many rows are: 0 for one, 1 for two and three, 2 for four to seven, …"""
    return min(max(rows, 1).bit_length() - 1, SIZES - 1)
