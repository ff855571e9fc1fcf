"""Counters by age, from which any of a few windows can be summed.

Counts of the last seconds are a plain list, which costs the hot path an addition each; they are
folded into three rings of cells, fine ones for the last hour, coarser ones for longer ago. A count
is in a window for the whole of that window, and for at most one cell longer. The clock is the
wall's, so that counts keep their age across a restart, and is always given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

# Seconds of a cell, and of the longest window that is summed from such cells.
FINE, MIDDLE, COARSE = (10, 3600), (300, 3 * 86_400), 3600


class Ring:
    """Cells of equal length, the newest last: int64 [cells, counters]."""

    def __init__(self, step: int, span: int, counters: int, now: float) -> None:
        self.step, self.span = step, span
        self.newest = math.floor(now / step)
        # One more than the span has: the newest cell is not over yet.
        self.cells: Counts = np.zeros((-(-span // step) + 1, counters), np.int64)

    def age(self, now: float) -> int:
        """How many cells ago the newest one was; 0 where the clock was set back."""
        return max(0, math.floor(now / self.step) - self.newest)

    def add(self, at: float, counts: Counts | Sequence[int]) -> None:
        """Add counts to the cell of a moment, which is the newest from now on."""
        older = min(self.age(at), len(self.cells))
        if older:
            self.cells[:-older] = self.cells[older:]
            self.cells[-older:] = 0
        self.newest = math.floor(at / self.step)
        self.cells[-1] += np.asarray(counts, np.int64)

    def set_back(self, now: float) -> None:
        """The clock was set back: the cells keep their order, and age from the new time on."""
        self.newest = min(self.newest, math.floor(now / self.step))

    def over(self, now: float, window: int) -> Counts:
        """Sums [counters] of the cells that overlap the last `window` seconds, <= span."""
        wanted = window // self.step + 1 - self.age(now)
        return self.cells[-wanted:].sum(axis=0) if wanted > 0 else self.cells[:0].sum(axis=0)


class Tally:
    """Some counters and their past.

    Attributes:
        open: counts since the last fold; add to it directly.
        began, until: `open` holds counts of this half-open interval; `fold` when now is outside it.
    """

    def __init__(self, counters: int, window: int, now: float) -> None:
        spans = (FINE, MIDDLE, (COARSE, max(window, COARSE)))
        self.rings = [Ring(step, span, counters, now) for step, span in spans]
        self.open = [0] * counters
        self._start(now)

    def _start(self, now: float) -> None:
        self.began = float(math.floor(now / FINE[0]) * FINE[0])
        self.until = self.began + FINE[0]

    def fold(self, now: float) -> None:
        """Move the open counts to their cells, and begin new ones."""
        for ring in self.rings:
            ring.add(self.began, self.open)
            ring.set_back(now)
        self.open = [0] * len(self.open)
        self._start(now)

    def over(self, now: float, window: int) -> Counts:
        """Sums [counters] of the last `window` seconds, the open counts included."""
        ring = next((ring for ring in self.rings if ring.span >= window), self.rings[-1])
        sums = ring.over(now, window)
        if math.floor(now / ring.step) - math.floor(self.began / ring.step) <= window // ring.step:
            sums += np.array(self.open, np.int64)
        return sums
