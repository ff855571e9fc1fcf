"""Counters by age, from which any of a few windows can be summed.

Counts of the last seconds are in a plain list, which costs the hot path one addition each. They are
folded into three rings of cells: fine cells for the last hour, coarser ones for longer ago. A count
is in a window for all of the window's length, and for at most one cell longer. The time is always
an argument, in Unix seconds, so that counts keep their age across a restart. It comes from a
`SteadyClock`: cells shifted out by a step of the wall clock would be lost. All of it may lie in
memory that other processes read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from cascade_server.memory import Memory, Version

Counts = NDArray[np.int64]

# Seconds of a cell, and of the longest window that is summed from such cells.
FINE, MIDDLE, COARSE = (10, 3600), (300, 3 * 86_400), 3600


class Ring:
    """Cells of equal length, the newest last: int64 [cells, counters]."""

    def __init__(self, step: int, span: int, counters: int, now: float, memory: Memory) -> None:
        self.step, self.span = step, span
        # One more than the span has: the newest cell is still open.
        cells = -(-span // step) + 1
        self.cells: Counts = memory.integers(cells * counters).reshape(cells, counters)
        self._newest = memory.integers(1)
        self.newest = math.floor(now / step)

    @property
    def newest(self) -> int:
        """The multiple of `step` at which the last cell begins."""
        return int(self._newest[0])

    @newest.setter
    def newest(self, number: int) -> None:
        self._newest[0] = number

    def copy(self) -> Ring:
        """Return a copy in this process's own memory."""
        out = copy(self)
        out.cells, out._newest = self.cells.copy(), self._newest.copy()
        return out

    def age(self, now: float) -> int:
        """Return how many cells ago the newest one was; 0 if it is in the future."""
        return max(0, math.floor(now / self.step) - self.newest)

    def add(self, moment: float, counts: Counts | Sequence[int]) -> None:
        """Add counts to the cell of a moment, which becomes the newest."""
        older = min(self.age(moment), len(self.cells))
        if older:
            self.cells[:-older] = self.cells[older:]
            self.cells[-older:] = 0
        self.newest = math.floor(moment / self.step)
        self.cells[-1] += np.asarray(counts, np.int64)

    def set_back(self, now: float) -> None:
        """Adjust to a clock that is earlier than before, as after a restart with another time.

        The cells keep their order, and age from the new time on.
        """
        self.newest = min(self.newest, math.floor(now / self.step))

    def over(self, now: float, window: int) -> Counts:
        """Sums [counters] of the cells that overlap the last `window` seconds, <= span."""
        wanted = window // self.step + 1 - self.age(now)
        return self.cells[-wanted:].sum(axis=0) if wanted > 0 else self.cells[:0].sum(axis=0)


class Tally:
    """Some counters and their history.

    One process counts and folds; any process may read.

    Attributes:
        open: counts since the last fold; add to it directly.
        began, until: the half-open interval of the counts in `open`; `fold` when now is outside it.
    """

    def __init__(
        self, counters: int, window: int, now: float, memory: Memory | None = None
    ) -> None:
        memory = memory or Memory()
        spans = (FINE, MIDDLE, (COARSE, max(window, COARSE)))
        self.rings = [Ring(step, span, counters, now, memory) for step, span in spans]
        self._open = memory.integers(counters)
        # Adding to an element of a memoryview takes a third of NumPy's time.
        self.open = self._open.data
        self._began, self._version = memory.integers(1), Version(memory)
        self._start(now)

    def _start(self, now: float) -> None:
        self._began[0] = math.floor(now / FINE[0]) * FINE[0]
        self.go_on()

    def go_on(self) -> None:
        """Continue counting where another process has stopped."""
        self.began = float(self._began[0])
        self.until = self.began + FINE[0]

    def fold(self, now: float) -> None:
        """Move the open counts to their cells, and begin new ones."""
        with self._version:
            for ring in self.rings:
                ring.add(self.began, self._open)
                ring.set_back(now)
            self._open[:] = 0
            self._start(now)

    def folded(self, now: float) -> list[Ring]:
        """Return copies of the rings as they would be after a fold."""

        def look() -> list[Ring]:
            rings = [ring.copy() for ring in self.rings]
            for ring in rings:
                ring.add(float(self._began[0]), self._open)
                ring.set_back(now)
            return rings

        return self._version.steady(look)

    def past(self, now: float, counters: Sequence[int], coarse: bool = False) -> Counts:
        """Return counts [cells, len(counters)] of the past, including the open ones.

        They cover the last hour in steps of ten seconds, the newest last; or, if `coarse`, the last
        three days in steps of five minutes.
        """
        ring, places = self.rings[1 if coarse else 0], list(counters)

        def look() -> Counts:
            kept = ring.cells[ring.age(now) :, places]
            out = np.zeros((len(ring.cells), len(places)), np.int64)
            out[: len(kept)] = kept
            age = math.floor(now / ring.step) - int(self._began[0]) // ring.step
            if 0 <= age < len(out):
                out[-1 - age] += self._open[places]
            return out

        return self._version.steady(look)

    def over(self, now: float, window: int) -> Counts:
        """Sum up the counters [counters] over the last `window` seconds, open counts included."""
        ring = next((ring for ring in self.rings if ring.span >= window), self.rings[-1])

        def look() -> Counts:
            sums, began = ring.over(now, window), int(self._began[0])
            if math.floor(now / ring.step) - began // ring.step <= window // ring.step:
                sums += self._open
            return sums

        return self._version.steady(look)


def moved(newest: int, step: int, seconds: float) -> int:
    """Return the multiple of `step` at which a cell begins by a clock that is `seconds` ahead.

    If that is no multiple of the step, the cell becomes younger rather than older, so that its
    counts stay in a window for all of its length.
    """
    return newest + math.ceil(seconds / step)


def added(rings: Sequence[Ring]) -> Ring:
    """Sum up several rings of equal length, each cell at its age."""
    newest = max(ring.newest for ring in rings)
    whole = rings[0].copy()
    whole.cells, whole.newest = np.zeros_like(whole.cells), newest
    for ring in rings:
        older = min(newest - ring.newest, len(ring.cells))
        whole.cells[: len(ring.cells) - older] += ring.cells[older:]
    return whole
