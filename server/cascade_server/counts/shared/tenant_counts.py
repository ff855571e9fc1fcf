"""What tenants have asked for, where all processes of a server see it.

A tenant has one place in all processes, which is found by its name; who is first gives it out.
Two numbers are everybody's, the moments at which its buckets are full again. All other numbers are
of the one process that counts them, and added up by whoever asks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from cascade_server.memory import Memory

# More than a file may have: some have left it, and were counted today.
SLOTS = 2048
NANO, MICRO = 1e9, 1e6
REASONS = 16


class TenantCounts:
    """Counters by tenant.

    Attributes:
        requests, rows: when a tenant's buckets are full again, monotonic nanoseconds [SLOTS]; of
            all processes.

    Args:
        places: processes that count.
        memory: where it lies.
    """

    def __init__(self, places: int, memory: Memory) -> None:
        self.places = places
        self._names = memory.integers(SLOTS)
        self.requests = memory.integers(SLOTS).data
        self.rows = memory.integers(SLOTS).data
        shape = (places, SLOTS)
        self._arrays = {
            name: memory.integers(places * SLOTS).reshape(shape)
            for name in ("calls", "answered", "day", "rows", "cost", "connections")
        }
        self._refusals = memory.integers(places * REASONS).reshape(places, REASONS)
        self._restored = memory.integers(1)
        # Of the processes that part from this one, each is to find the place of a new tenant alone.
        descriptor, path = tempfile.mkstemp(prefix="cascade-tenants-")
        os.unlink(path)
        self._lock = descriptor

    def __del__(self) -> None:
        os.close(self._lock)

    def of(self, place: int) -> PlaceCounts:
        """What one process counts.

        Args:
            place: its place among them.
        """
        return PlaceCounts(self, place)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # By process and not by descriptor, which they share; it is let go of whoever is killed.
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def slots(self, tenants: Collection[str]) -> dict[str, int]:
        """Where tenants are counted; the same in all processes.

        Args:
            tenants: all that there are now, up to half of `SLOTS`. Others, who have left, may lose
                their places to new ones.
        """
        names = {name: _number(name) for name in tenants}
        known = set(names.values())
        found = {}
        with self._alone():
            taken = {int(number): slot for slot, number in enumerate(self._names) if number}
            free = [slot for slot in range(SLOTS) if not self._names[slot]]
            free += [slot for number, slot in taken.items() if number not in known]
            rest = iter(free)
            for name, number in names.items():
                slot = taken.get(number)
                if slot is None:
                    slot = next(rest)
                    self._clear(slot)
                    self._names[slot] = number
                    taken[number] = slot
                found[name] = slot
        return found

    def _clear(self, slot: int) -> None:
        self.requests[slot] = self.rows[slot] = 0
        for array in self._arrays.values():
            array[:, slot] = 0

    def array(self, name: str) -> NDArray[np.int64]:
        """Counters by process and slot: int64 [places, SLOTS]; name: of `calls`, `answered` rows,
        `connections`, and the `day` of which `rows` and `cost` (in millionths) are."""
        return self._arrays[name]

    def total(self, name: str, slot: int) -> int:
        """What all processes have counted of a tenant."""
        return int(self._arrays[name][:, slot].sum())

    def today(self, name: str, slot: int, day: int) -> int:
        """What all processes have counted of a tenant on a day: `rows`, or `cost` in millionths."""
        days = self._arrays["day"][:, slot]
        return int(self._arrays[name][:, slot][days == day].sum())

    def left(self, place: int) -> None:
        """The process of a place has ended, and its connections with it; others may be in their
        place at once, also where no other process comes to have that one."""
        self._arrays["connections"][place] = 0

    def restore(self) -> bool:
        """Whether nobody has restored yet what was used before these counters were made; from now
        on somebody has."""
        is_first = not self._restored[0]
        self._restored[0] = 1
        return is_first

    def refusals(self) -> list[int]:
        """What all processes have refused, by the number of the reason."""
        return [int(each) for each in self._refusals.sum(axis=0)]


class PlaceCounts:
    """What one process counts of tenants.

    Attributes:
        all: of all processes.
    """

    def __init__(self, counts: TenantCounts, place: int) -> None:
        self.all = counts
        # Adding to an element of a memoryview takes a third of what NumPy takes.
        arrays = {name: counts.array(name)[place].data for name in counts._arrays}
        self._calls, self._answered = arrays["calls"], arrays["answered"]
        self._day, self._rows, self._cost = arrays["day"], arrays["rows"], arrays["cost"]
        self._connections = arrays["connections"]
        self._refusals = counts._refusals[place].data
        # Of a process that had this place before and was killed.
        counts.left(place)

    def call(self, slot: int) -> None:
        """A tenant's call was let in."""
        self._calls[slot] += 1

    def answered(self, slot: int, rows: int) -> None:
        """A tenant was let have rows."""
        self._answered[slot] += rows

    def used(self, slot: int, day: int, rows: int, cost: float = 0.0) -> None:
        """A tenant has used some of its quotas.

        Args:
            slot: whose.
            day: today, as `rates.day_of` counts them.
            rows: how many.
            cost: in the unit of the prices.
        """
        if self._day[slot] != day:
            self._day[slot], self._rows[slot], self._cost[slot] = day, 0, 0
        self._rows[slot] += rows
        if cost:
            self._cost[slot] += round(MICRO * cost)

    def unused(self, slot: int, day: int, rows: int) -> None:
        """Some of what this process has counted as `used` on a day was not; of a day that is over
        there is nothing to be put right."""
        if self._day[slot] == day:
            self._rows[slot] -= rows

    def connected(self, slot: int, number: int) -> None:
        """A connection has begun to be a tenant's (1), or is no more (-1)."""
        self._connections[slot] += number

    def refused(self, reason: int) -> None:
        """A call was refused, for a reason by its number."""
        self._refusals[reason] += 1


def _number(name: str) -> int:
    """Tells a tenant from others; never 0."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big") + 1
