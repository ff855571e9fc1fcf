"""Latency histograms that keep every percentile, and that can be added over processes.

HDR histograms (Gil Tene's; the package `hdrhistogram`) count in microseconds, to three figures:
every percentile is within 0.1 % of the value, and the sum of two processes' histograms is that of
all of their calls. A mean of percentiles is neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

# Microseconds; shorter or longer values are clipped to these.
SHORTEST, LONGEST = 1, 600_000_000
FIGURES = 3


class Latencies:
    """Of some calls. An empty one has no percentiles.

    >>> found = Latencies()
    >>> found.note(0.0042)
    >>> found.quantile(0.99)
    0.0042
    """

    def __init__(self) -> None:
        self._histogram = HdrHistogram(SHORTEST, LONGEST, FIGURES)

    def note(self, seconds: float) -> None:
        """Record a call's duration."""
        micros = min(max(round(1e6 * seconds), SHORTEST), LONGEST)
        self._histogram.record_value(micros)

    @property
    def count(self) -> int:
        """How many calls have been recorded."""
        return int(self._histogram.get_total_count())

    @property
    def worst(self) -> float:
        """Seconds of the longest call; 0 if there was none."""
        return self._histogram.max_value / 1e6 if self.count else 0.0

    def quantile(self, q: float) -> float:
        """Seconds that a share `q`, in (0, 1], of the calls took at most; NaN: there is none."""
        return float(self.quantiles([q])[0])

    def quantiles(self, shares: Sequence[float]) -> NDArray[np.float64]:
        """Return several quantiles in one pass, in seconds."""
        # Less what a product such as 0.999 * 1000 is too large by.
        return self.at_ranks([int(np.ceil(q * self.count - 1e-6)) for q in shares])

    def at_ranks(self, ranks: Sequence[int]) -> NDArray[np.float64]:
        """Seconds of the calls that are so far from the shortest, which is 1; NaN beyond them."""
        counts = np.frombuffer(self._histogram.counts, np.int64)
        cumulative = np.cumsum(counts)
        total = int(cumulative[-1])
        found = []
        for rank in ranks:
            if not 0 < max(rank, 1) <= total:
                found.append(np.nan)
                continue
            index = int(np.searchsorted(cumulative, max(rank, 1)))
            value = self._histogram.get_value_from_index(index)
            # No call took longer than the longest, whatever its bucket would allow.
            highest = self._histogram.get_highest_equivalent_value(value)
            found.append(min(highest, self._histogram.max_value) / 1e6)
        return np.array(found)

    def add(self, other: Latencies) -> None:
        """Add another histogram."""
        if other.count:
            self._histogram.add(other._histogram)

    def encode(self) -> str:
        """As text, some hundred characters: HdrHistogram's own V2 format, compressed and
        in base 64, which its tools read."""
        return self._histogram.encode().decode() if self.count else ""

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read a histogram that `encode` wrote."""
        found = cls()
        if text:
            found._histogram.add(HdrHistogram.decode(text.encode()))
        return found
