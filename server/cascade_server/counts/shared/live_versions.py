"""Which version answers a request that names none: a few numbers that all processes see.

The supervisor alone writes them, and every worker reads them with each such request: a canary
begins, is promoted or is rolled back in all of them in the same instant, and nothing is loaded for
it. They are read without a lock; whatever is read while they change is a version that answered
before or will from then on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

import numpy as np

from cascade_server.memory import Memory

STABLE, CANARY, SHARE, FIELDS = 0, 1, 2, 3
# Shares are counted in so many parts.
WHOLE = 1_000_000
# What is counted of reloads and trials.
EVENTS = ("loaded", "refused", "canary_started", "canary_promoted", "canary_rolled_back")
# An odd number whose multiples scatter (Knuth, TAOCP 6.4): 2^64 over the golden ratio.
SCATTER = 0x9E3779B97F4A7C15


def lot_of(seed: int | None) -> float:
    """In [0, 1): below the canary's share a request is the canary's.

    A seed's is always the same, so that equal requests have equal answers during a trial.
    """
    if seed is None:
        return random.random()
    mixed = (seed * SCATTER) & (2**64 - 1)
    mixed = ((mixed ^ (mixed >> 32)) * SCATTER) & (2**64 - 1)
    return mixed / 2**64


class LiveVersions:
    """Rows of numbers, one a table; made before the processes part.

    Args:
        tables: all that may be served.
        memory: where they lie.
    """

    def __init__(self, tables: Collection[str], memory: Memory) -> None:
        self.tables = frozenset(tables)
        self._rows = {table: FIELDS * number for number, table in enumerate(sorted(tables))}
        # An element of a memoryview is read in a third of the time that NumPy takes.
        self._numbers = memory.integers(FIELDS * max(1, len(self._rows))).data
        self.events = memory.integers(len(EVENTS))

    def put(self, table: str, stable: int, canary: int = 0, share: float = 0.0) -> None:
        """From now on, let a table's requests that name no version be answered so.

        Args:
            table: whose.
            stable: the version that answers.
            canary: the version on trial; 0: there is none.
            share: of these requests, in [0, 1], that the canary answers.
        """
        row, numbers = self._rows[table], self._numbers
        numbers[row + SHARE] = 0
        numbers[row + STABLE] = stable
        numbers[row + CANARY] = canary
        numbers[row + SHARE] = round(share * WHOLE)

    def count(self, event: str) -> None:
        """One of `EVENTS` has happened."""
        self.events[EVENTS.index(event)] += 1

    def _read(self, row: int) -> tuple[int, int, int]:
        """Share, canary and stable version, each read once: the next read may be of others."""
        numbers = self._numbers
        return numbers[row + SHARE], numbers[row + CANARY], numbers[row + STABLE]

    def choose(self, table: str, lot: float, loaded: Collection[int]) -> int:
        """The version that answers.

        Args:
            table: whose.
            lot: as `lot_of`; 1: not the canary.
            loaded: versions that this process has, in increasing order; of others it does not
                know yet, or not any more.
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
        """Of a trial: 0 is the stable version, 1 the canary; None: neither, or there is none."""
        row = self._rows.get(table)
        if row is None or not self._numbers[row + SHARE]:
            return None
        if version == self._numbers[row + CANARY]:
            return 1
        return 0 if version == self._numbers[row + STABLE] else None

    def arm_by_lot(self, table: str, lot: Callable[[], float] = random.random) -> int | None:
        """As `arm`, of a call that ended before a version was chosen.

        Args:
            table: whose.
            lot: uniform in [0, 1): which of the two would have answered.
        """
        row = self._rows.get(table)
        if row is None or not self._numbers[row + SHARE]:
            return None
        return int(lot() * WHOLE < self._numbers[row + SHARE])

    def shares(self, table: str) -> dict[int, float]:
        """Of the requests that name no version, by version."""
        row = self._rows.get(table)
        if row is None:
            return {}
        whole, canary, stable = self._read(row)
        if not stable:
            return {}
        share = whole / WHOLE
        return {stable: 1 - share, canary: share} if share else {stable: 1.0}

    def totals(self) -> dict[str, int]:
        """How often each of `EVENTS` has happened."""
        return dict(zip(EVENTS, np.asarray(self.events).tolist(), strict=True))
