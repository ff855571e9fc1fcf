"""Latency quantiles of the last hour, from counts in bins that grow geometrically.

A DDSketch (Masson et al., VLDB 2019) whose bins are all there from the start: any quantile is
within 1 % of the value, and sketches are merged by adding, also those of other processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cascade_server.memory import Memory

RELATIVE_ACCURACY = 0.01
GAMMA = (1 + RELATIVE_ACCURACY) / (1 - RELATIVE_ACCURACY)
INVERSE_LOG = 1 / math.log(GAMMA)
# Seconds of the first bin and of the last: what is beyond them counts as they do.
LEAST, MOST = 1e-7, 1e4
OFFSET = -math.ceil(math.log(LEAST) * INVERSE_LOG)
BINS = math.ceil(math.log(MOST) * INVERSE_LOG) + OFFSET + 1
# Sketches are of five minutes; the newest one is not over yet.
SLOT, SLOTS = 300, 12
RING = SLOTS + 1


def bin_of(seconds: float) -> int:
    """Where a latency is counted."""
    if seconds <= LEAST:
        return 0
    return min(BINS - 1, math.ceil(math.log(seconds) * INVERSE_LOG) + OFFSET)


def quantile(counts: NDArray[np.int64], q: float) -> float:
    """Seconds of a quantile of what `counts` [BINS] holds; 0 of nothing."""
    total = int(counts.sum())
    if total == 0:
        return 0.0
    rank = q * (total - 1)
    place = int(np.searchsorted(np.cumsum(counts), rank, side="right"))
    return float(2 * GAMMA ** (place - OFFSET) / (1 + GAMMA))


class Sketches:
    """Sketches of some keys, five minutes by five minutes.

    Of hundreds of keys few are counted at once, and memory that nobody has written to or read is
    none: what a key has counted is looked at, and wiped, only where it was counted in that slot.

    Args:
        keys: how many.
        memory: where they lie; one process adds, any may look.
    """

    def __init__(self, keys: int, memory: Memory) -> None:
        self._keys = keys
        # Which slot each row of each key is of; 0: none.
        self._stamps = memory.integers(RING * keys).reshape(RING, keys)
        self._counts = memory.integers(RING * keys * BINS).reshape(RING, keys, BINS)
        # Adding to an element of a memoryview takes a third of what NumPy takes.
        self._flat, self._flat_stamps = self._counts.reshape(-1).data, self._stamps.reshape(-1).data
        self._slot = self._first = 0

    def begin(self, slot: int) -> None:
        """What is added from now on is of this slot, > 0."""
        self._slot, self._first = slot, slot % RING * self._keys

    def add(self, key: int, seconds: float) -> None:
        """Count a latency, in seconds, of one of the keys."""
        place = self._first + key
        if self._flat_stamps[place] != self._slot:
            self._counts[self._slot % RING, key] = 0
            self._flat_stamps[place] = self._slot
        self._flat[place * BINS + bin_of(seconds)] += 1

    def of_slot(self, slot: int, keys: Sequence[int]) -> NDArray[np.int64]:
        """Counts [len(keys), BINS] of some keys in one slot."""
        out, row = np.zeros((len(keys), BINS), np.int64), slot % RING
        for place, key in enumerate(keys):
            if self._stamps[row, key] == slot:
                out[place] = self._counts[row, key]
        return out

    def recent(self, slot: int) -> dict[int, NDArray[np.int64]]:
        """Counts [BINS] of a slot and the `SLOTS` before it, of the keys that have any."""
        young = (self._stamps <= slot) & (self._stamps >= max(1, slot - SLOTS))
        out: dict[int, NDArray[np.int64]] = {}
        for row, key in np.argwhere(young).tolist():
            counts = self._counts[row, key]
            out[key] = out[key] + counts if key in out else counts.copy()
        return out
