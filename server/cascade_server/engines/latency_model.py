"""How long a batch will take, learnt from the batches before it."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

# Older observations fade: what is kept of their weight at each new one.
KEEP = 1 - 1 / 512
# Recent batches whose spread around the mean gives the tail.
RECENT = 256
TAIL = 0.99
# The tail's factor is worked out anew after so many observations.
REFRESH = 16
# Until there are enough of them, the tail is taken to be this many times the mean.
FIRST_FACTOR = 2.0
ENOUGH = 32
# A batch that took more than so many times what was expected counts as this much: the machine stood
# still meanwhile, or the process did. Half a minute of that would have everything refused as late,
# and who draws nothing learns nothing better. One that took as many times less shows that what was
# learnt is of such a while, and it is forgotten.
MOST_RATIO = 100.0
# Of `Hindsight`: the weight of one observation, and seconds after which half of it is forgotten.
PULL = 0.25
HALF_LIFE = 1.0


@dataclass
class _Sums:
    """Of w, w·n, w·n², w·s and w·n·s over batches of n rows that took s seconds."""

    w: float = 0.0
    n: float = 0.0
    nn: float = 0.0
    s: float = 0.0
    ns: float = 0.0

    def add(self, n: int, s: float, w: float) -> None:
        """Fade the batches before, add one."""
        self.w = KEEP * self.w + w
        self.n = KEEP * self.n + w * n
        self.nn = KEEP * self.nn + w * n * n
        self.s = KEEP * self.s + w * s
        self.ns = KEEP * self.ns + w * n * s


class Line(NamedTuple):
    """A prediction: mean a·n + b seconds, and how many times the mean its .99 quantile is."""

    a: float = 0.0
    b: float = 0.0
    factor: float = FIRST_FACTOR

    def mean(self, rows: int) -> float:
        """Expected seconds of a batch."""
        return self.a * rows + self.b

    def tail(self, rows: int, passes: int = 1) -> float:
        """Seconds that all but a hundredth of such batches stay below.

        Of several passes one after the other, the spreads add up as of independent ones.
        """
        return _tail(self.mean(rows), self.factor, passes)


def _tail(mean: float, factor: float, passes: int) -> float:
    return passes * mean + math.sqrt(passes) * (factor - 1) * mean


class Outlook(NamedTuple):
    """What there is to say of how long an engine would take.

    Attributes:
        line: of its batches.
        busy_until: when the batch that runs is expected to end; 0: none runs.
        ahead: rows of real-time requests in the queue.
        most: rows of the largest batch.
    """

    line: Line
    busy_until: float
    ahead: int
    most: int

    def predict(self, now: float, rows: int, passes: int = 1) -> float:
        """The .99 quantile of the seconds until rows that came now would be done."""
        rest = self._rest(now)
        together = min(self.ahead + rows, max(rows, self.most))
        before = self.ahead + rows - together
        wait = self.line.mean(before) if before > 0 else 0.0
        return rest + wait + self.line.tail(together, passes)

    def queued(self, now: float) -> float:
        """Seconds until all rows in the queue are expected to be done; 0: there are none."""
        return self._rest(now) + self.line.mean(self.ahead) if self.ahead else 0.0

    def _rest(self, now: float) -> float:
        """Seconds that the batch which runs is still expected to take."""
        return max(0.0, self.busy_until - now)


class LatencyModel:
    """Seconds of a batch of n rows: mean a·n + b, and the mean times a tail factor.

    The line is the least-squares fit of relative errors, so that a batch of one counts as much as
    a batch of a thousand; old batches fade. The factor is the .99 quantile of seconds / mean over
    the recent ones. Not thread-safe: one event loop owns it.
    """

    def __init__(self) -> None:
        self._sums = _Sums()
        self._a, self._b = 0.0, 0.0
        self._ratios: deque[float] = deque(maxlen=RECENT)
        self._factor = FIRST_FACTOR
        self._since_refresh = 0

    @property
    def known(self) -> bool:
        """Whether anything has been observed; a prediction before that is 0."""
        return self._sums.w > 0

    def observe(self, rows: int, seconds: float) -> None:
        """A batch of `rows` took `seconds`, both > 0."""
        expected = self.mean(rows)
        if seconds * MOST_RATIO < expected:
            self._sums, expected = _Sums(), 0.0
            self._ratios.clear()
            self._factor, self._since_refresh = FIRST_FACTOR, 0
        if expected > 0:
            seconds = min(seconds, MOST_RATIO * expected)
            self._ratios.append(seconds / expected)
            self._since_refresh += 1
            if self._since_refresh >= REFRESH and len(self._ratios) >= ENOUGH:
                self._refresh()
        self._sums.add(rows, seconds, 1.0 / (expected or seconds) ** 2)
        self._fit()

    def _refresh(self) -> None:
        ordered = sorted(self._ratios)
        self._factor = max(1.0, ordered[min(len(ordered) - 1, int(TAIL * len(ordered)))])
        self._since_refresh = 0

    def _fit(self) -> None:
        sums = self._sums
        spread = sums.w * sums.nn - sums.n * sums.n
        # All batches of about one size say nothing of the slope: all of it goes to rows.
        if spread <= 1e-9 * sums.w * sums.nn:
            self._a, self._b = sums.ns / sums.nn, 0.0
            return
        a = (sums.w * sums.ns - sums.n * sums.s) / spread
        b = (sums.s - a * sums.n) / sums.w
        if a < 0:
            a, b = 0.0, sums.s / sums.w
        elif b < 0:
            a, b = sums.ns / sums.nn, 0.0
        self._a, self._b = a, b

    def mean(self, rows: int) -> float:
        """Expected seconds of a batch."""
        return self._a * rows + self._b

    def tail(self, rows: int, passes: int = 1) -> float:
        """The .99 quantile of the seconds that some passes over so many rows take; as `Line.tail`,
        without making a line."""
        return _tail(self._a * rows + self._b, self._factor, passes)

    @property
    def line(self) -> Line:
        """What it predicts now."""
        return Line(self._a, self._b, self._factor)


class Hindsight:
    """Seconds that work takes of late beyond what was predicted, for reasons its engine cannot see.

    A process that waits for a processor measures what it computes, not when it is woken to take the
    next request. What it is late pulls the delay up; that comes down by itself, since who is no
    longer asked shows nothing: then a few are sent to see.
    """

    def __init__(self) -> None:
        self._delay, self._at = 0.0, 0.0

    def delay(self, now: float) -> float:
        """What to add to a prediction.

        Args:
            now: seconds on a clock that only grows.
        """
        return self._delay * 0.5 ** ((now - self._at) / HALF_LIFE)

    def observe(self, now: float, predicted: float, took: float) -> None:
        """Work that was predicted to take `predicted` seconds, without the delay, took longer or
        less; or had taken so long when it was given up."""
        delay, late = self.delay(now), took - predicted
        if late > delay:
            self._delay, self._at = delay + PULL * (late - delay), now
