"""Usage of tenants, in memory that all processes of a server see.

A tenant has the same place in all processes, found by its name; the first process that meets a
tenant assigns the place. Two numbers are shared by all processes: the moments at which the tenant's
buckets are full again. Each other number belongs to the one process that counts it; readers add
them up.
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

# More than a file may have: tenants that have been removed may still have counts of today.
SLOTS = 2048
NANO, MICRO = 1e9, 1e6
REASONS = 16


class TenantCounts:
    """Counters by tenant.

    Attributes:
        requests, rows: when a tenant's buckets are full again, monotonic nanoseconds [SLOTS];
            shared by all processes.

    Args:
        places: number of processes that count.
        memory: holds the counts.
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
        # A lock, so that only one of the forked processes at a time assigns a place to a new
        # tenant.
        descriptor, path = tempfile.mkstemp(prefix="cascade-tenants-")
        os.unlink(path)
        self._lock = descriptor

    def __del__(self) -> None:
        os.close(self._lock)

    def of(self, place: int) -> PlaceCounts:
        """Return the counts of one process.

        Args:
            place: the process's place.
        """
        return PlaceCounts(self, place)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # A lock by process and not by descriptor, since the processes share that; it is released if
        # a process is killed.
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def slots(self, tenants: Collection[str]) -> dict[str, int]:
        """Return the slots of tenants, which are the same in all processes.

        Args:
            tenants: all current tenants, up to half of `SLOTS`. Removed tenants may lose their
                slots to new ones.
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
        """Return counters by process and slot: int64 [places, SLOTS].

        The name is one of `calls`, `answered` rows, `connections`, and the `day` that `rows` and
        `cost` (in millionths) are of.
        """
        return self._arrays[name]

    def total(self, name: str, slot: int) -> int:
        """Sum up what all processes have counted for a tenant."""
        return int(self._arrays[name][:, slot].sum())

    def today(self, name: str, slot: int, day: int) -> int:
        """Sum up a tenant's `rows` or `cost` (in millionths) of a day over all processes."""
        days = self._arrays["day"][:, slot]
        return int(self._arrays[name][:, slot][days == day].sum())

    def left(self, place: int) -> None:
        """Note that the process of a place has ended, and its connections with it.

        Its connections may be replaced at once, even if no other process gets that place.
        """
        self._arrays["connections"][place] = 0

    def restore(self) -> bool:
        """Return whether earlier usage is still to be restored; then mark it as restored."""
        is_first = not self._restored[0]
        self._restored[0] = 1
        return is_first

    def refusals(self) -> list[int]:
        """Return the refusals of all processes, by the number of the reason."""
        return [int(each) for each in self._refusals.sum(axis=0)]


class PlaceCounts:
    """One process's counts of tenants.

    Attributes:
        all: the counts of all processes.
    """

    def __init__(self, counts: TenantCounts, place: int) -> None:
        self.all = counts
        # Adding to an element of a memoryview takes a third of NumPy's time.
        arrays = {name: counts.array(name)[place].data for name in counts._arrays}
        self._calls, self._answered = arrays["calls"], arrays["answered"]
        self._day, self._rows, self._cost = arrays["day"], arrays["rows"], arrays["cost"]
        self._connections = arrays["connections"]
        self._refusals = counts._refusals[place].data
        # For a process that had this place before and was killed.
        counts.left(place)

    def call(self, slot: int) -> None:
        """Count a tenant's call that was admitted."""
        self._calls[slot] += 1

    def answered(self, slot: int, rows: int) -> None:
        """Count rows that were given to a tenant."""
        self._answered[slot] += rows

    def used(self, slot: int, day: int, rows: int, cost: float = 0.0) -> None:
        """Count usage against a tenant's quotas.

        Args:
            slot: the tenant's slot.
            day: today, in the numbering of `rates.day_of`.
            rows: how many rows.
            cost: cost in the unit of the prices.
        """
        if self._day[slot] != day:
            self._day[slot], self._rows[slot], self._cost[slot] = day, 0, 0
        self._rows[slot] += rows
        if cost:
            self._cost[slot] += round(MICRO * cost)

    def unused(self, slot: int, day: int, rows: int) -> None:
        """Take back some of the usage that this process counted on a day.

        There is nothing to correct for a day that is over.
        """
        if self._day[slot] == day:
            self._rows[slot] -= rows

    def connected(self, slot: int, number: int) -> None:
        """Note that a connection now belongs to a tenant (1), or no longer does (-1)."""
        self._connections[slot] += number

    def refused(self, reason: int) -> None:
        """Count a refused call, by the number of the reason."""
        self._refusals[reason] += 1


def _number(name: str) -> int:
    """Return a number that identifies a tenant; never 0."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big") + 1
