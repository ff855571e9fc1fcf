"""Latency quantiles of the last hour, from counts in bins that grow geometrically.

A DDSketch (Masson et al., VLDB 2019) with all bins allocated from the start: any quantile is within
1 % of the value, and sketches are merged by addition, across processes too.
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
# Seconds of the first bin and of the last; values beyond count in these bins.
LEAST, MOST = 1e-7, 1e4
OFFSET = -math.ceil(math.log(LEAST) * INVERSE_LOG)
BINS = math.ceil(math.log(MOST) * INVERSE_LOG) + OFFSET + 1
# A sketch covers five minutes; the newest one is still open.
SLOT, SLOTS = 300, 12
RING = SLOTS + 1


def bin_of(seconds: float) -> int:
    """Return the bin of a latency."""
    if seconds <= LEAST:
        return 0
    return min(BINS - 1, math.ceil(math.log(seconds) * INVERSE_LOG) + OFFSET)


def quantile(counts: NDArray[np.int64], q: float) -> float:
    """Return the seconds of a quantile of `counts` [BINS]; 0 if they are empty."""
    total = int(counts.sum())
    if total == 0:
        return 0.0
    rank = q * (total - 1)
    place = int(np.searchsorted(np.cumsum(counts), rank, side="right"))
    return float(2 * GAMMA ** (place - OFFSET) / (1 + GAMMA))


class Sketches:
    """Sketches of some keys, in slots of five minutes.

    Of hundreds of keys few are counted at the same time, and memory that is never touched costs
    nothing: a key's counts are read and cleared only in slots where it was counted.

    Args:
        keys: number of keys.
        memory: holds the sketches; one process adds, any process may read.
    """

    def __init__(self, keys: int, memory: Memory) -> None:
        self._keys = keys
        # The slot that each row of each key belongs to; 0 for none.
        self._stamps = memory.integers(RING * keys).reshape(RING, keys)
        self._counts = memory.integers(RING * keys * BINS).reshape(RING, keys, BINS)
        # Adding to an element of a memoryview takes a third of NumPy's time.
        self._flat, self._flat_stamps = self._counts.reshape(-1).data, self._stamps.reshape(-1).data
        self._slot = self._first = 0

    def begin(self, slot: int) -> None:
        """Count in this slot, > 0, from now on."""
        self._slot, self._first = slot, slot % RING * self._keys

    def add(self, key: int, seconds: float) -> None:
        """Count a latency, in seconds, for one of the keys."""
        place = self._first + key
        if self._flat_stamps[place] != self._slot:
            self._counts[self._slot % RING, key] = 0
            self._flat_stamps[place] = self._slot
        self._flat[place * BINS + bin_of(seconds)] += 1

    def of_slot(self, slot: int, keys: Sequence[int]) -> NDArray[np.int64]:
        """Return the counts [len(keys), BINS] of some keys in one slot."""
        out, row = np.zeros((len(keys), BINS), np.int64), slot % RING
        for place, key in enumerate(keys):
            if self._stamps[row, key] == slot:
                out[place] = self._counts[row, key]
        return out

    def recent(self, slot: int) -> dict[int, NDArray[np.int64]]:
        """Return the counts [BINS] of a slot and the `SLOTS` before it, for keys that have any."""
        young = (self._stamps <= slot) & (self._stamps >= max(1, slot - SLOTS))
        out: dict[int, NDArray[np.int64]] = {}
        for row, key in np.argwhere(young).tolist():
            counts = self._counts[row, key]
            out[key] = out[key] + counts if key in out else counts.copy()
        return out
