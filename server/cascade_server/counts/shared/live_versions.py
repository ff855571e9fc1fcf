"""Which version answers a request that names none: a few numbers that all processes see.

Only the supervisor writes them, and every worker reads them with each such request: a canary
begins, is promoted or is rolled back in all workers at the same instant, without loading anything.
They are read without a lock; a read during a change returns a version that answered before or will
from then on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

import numpy as np

from cascade_server.memory import Memory

STABLE, CANARY, SHARE, FIELDS = 0, 1, 2, 3
# Shares are counted in this many parts.
WHOLE = 1_000_000
# Events of reloads and trials that are counted.
EVENTS = ("loaded", "refused", "canary_started", "canary_promoted", "canary_rolled_back")
# An odd number whose multiples scatter (Knuth, TAOCP 6.4): 2^64 over the golden ratio.
SCATTER = 0x9E3779B97F4A7C15


def lot_of(seed: int | None) -> float:
    """Return a number in [0, 1); if it is below the canary's share, the canary answers the request.

    A seed always gives the same number, so that equal requests have equal answers during a trial.
    """
    if seed is None:
        return random.random()
    mixed = (seed * SCATTER) & (2**64 - 1)
    mixed = ((mixed ^ (mixed >> 32)) * SCATTER) & (2**64 - 1)
    return mixed / 2**64


class LiveVersions:
    """Rows of numbers, one per table; create it before the processes fork.

    Args:
        tables: all tables that may be served.
        memory: holds the numbers.
    """

    def __init__(self, tables: Collection[str], memory: Memory) -> None:
        self.tables = frozenset(tables)
        self._rows = {table: FIELDS * number for number, table in enumerate(sorted(tables))}
        # Reading an element of a memoryview takes a third of NumPy's time.
        self._numbers = memory.integers(FIELDS * max(1, len(self._rows))).data
        self.events = memory.integers(len(EVENTS))

    def put(self, table: str, stable: int, canary: int = 0, share: float = 0.0) -> None:
        """Set which versions answer a table's requests that name no version.

        Args:
            table: the table.
            stable: the version that answers.
            canary: the version on trial; 0 if there is none.
            share: the share of these requests, in [0, 1], that the canary answers.
        """
        row, numbers = self._rows[table], self._numbers
        numbers[row + SHARE] = 0
        numbers[row + STABLE] = stable
        numbers[row + CANARY] = canary
        numbers[row + SHARE] = round(share * WHOLE)

    def count(self, event: str) -> None:
        """Count one of `EVENTS`."""
        self.events[EVENTS.index(event)] += 1

    def _read(self, row: int) -> tuple[int, int, int]:
        """Read share, canary and stable version once each: a second read may return others."""
        numbers = self._numbers
        return numbers[row + SHARE], numbers[row + CANARY], numbers[row + STABLE]

    def choose(self, table: str, lot: float, loaded: Collection[int]) -> int:
        """Choose the version that answers.

        Args:
            table: the table.
            lot: see `lot_of`; 1 for never the canary.
            loaded: versions that this process has loaded, in increasing order. It may not have
                loaded others yet, or no longer have them.
        """
        row = self._rows.get(table)
        if row is not None:
            share, canary, stable = self._read(row)
            if lot * WHOLE < share and canary in loaded:
                return canary
            if stable in loaded:
                return stable
        return max(loaded)

    def arm(self, table: str, version: int) -> int | None:
        """Return the arm of a trial: 0 for the stable version, 1 for the canary, else None."""
        row = self._rows.get(table)
        if row is None or not self._numbers[row + SHARE]:
            return None
        if version == self._numbers[row + CANARY]:
            return 1
        return 0 if version == self._numbers[row + STABLE] else None

    def arm_by_lot(self, table: str, lot: Callable[[], float] = random.random) -> int | None:
        """Return the arm, as `arm`, for a call that ended before a version was chosen.

        Args:
            table: the table.
            lot: returns a uniform number in [0, 1), which decides which of the two would have
                answered.
        """
        row = self._rows.get(table)
        if row is None or not self._numbers[row + SHARE]:
            return None
        return int(lot() * WHOLE < self._numbers[row + SHARE])

    def shares(self, table: str) -> dict[int, float]:
        """Return each version's share of the requests that name no version."""
        row = self._rows.get(table)
        if row is None:
            return {}
        whole, canary, stable = self._read(row)
        if not stable:
            return {}
        share = whole / WHOLE
        return {stable: 1 - share, canary: share} if share else {stable: 1.0}

    def totals(self) -> dict[str, int]:
        """Return how often each of `EVENTS` has happened."""
        return dict(zip(EVENTS, np.asarray(self.events).tolist(), strict=True))
