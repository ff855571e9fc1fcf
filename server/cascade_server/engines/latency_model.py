"""Predicts how long a batch will take, from earlier batches."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

# How many of the latest batches of a size (1, 2 or 3, 4 to 7, ...) are remembered. A third of them
# stay below the value that counts, since stalls only add time. With this many batches the value is
# sure.
A_SIZE, THIRD, SURE = 32, 3, 8
# Batches of other sizes after which half of a size's weight is lost; after which it is no longer
# sure; and the least weight that remains.
HALF_FADED, STALE, LEAST = 128, 1024, 1e-6
# A batch this many times shorter than all remembered ones of its size shows that the machine was
# stalled during those; they are forgotten.
FAR_SHORTER = 8.0
# How many recent batches the tail is computed from, its quantile, and after how many batches it is
# computed again.
RECENT, TAIL, REFRESH = 256, 0.99, 32
# With fewer batches than this, the tail is taken to be this many times the mean.
FIRST_FACTOR, ENOUGH = 2.0, 32
# Time beyond this many times the usual is not a batch's own work, but a stall.
MOST_SPREAD = 4.0
# For `Hindsight`: the weight of one observation, and the seconds after which half is forgotten.
PULL = 0.25
HALF_LIFE = 1.0


class Line(NamedTuple):
    """A prediction.

    Attributes:
        a, b: a batch of n rows usually takes a·n + b seconds.
        factor: the .99 quantile as a multiple of the usual time, of batches that did not stall.
        stall: the .99 quantile of the seconds that a batch stalls, whatever its size.
    """

    a: float = 0.0
    b: float = 0.0
    factor: float = FIRST_FACTOR
    stall: float = 0.0

    def mean(self, rows: int) -> float:
        """Return the expected seconds of a batch."""
        return self.a * rows + self.b

    def tail(self, rows: int, passes: int = 1) -> float:
        """Return the seconds that all but a hundredth of such batches stay below.

        The spreads of consecutive passes add up like independent ones.
        """
        mean = self.a * rows + self.b
        return passes * mean + math.sqrt(passes) * ((self.factor - 1) * mean + self.stall)


class Outlook(NamedTuple):
    """What a prediction of an engine's time is computed from.

    Attributes:
        line: the prediction for its batches.
        busy_until: when the running batch is expected to end; 0 if none runs.
        ahead: rows of real-time requests in the queue.
        most: rows of the largest batch.
    """

    line: Line
    busy_until: float
    ahead: int
    most: int

    def predict(self, now: float, rows: int, passes: int = 1) -> float:
        """Predict the .99 quantile of the seconds until rows that arrive now would be done."""
        rest = self._rest(now)
        together = min(self.ahead + rows, max(rows, self.most))
        before = self.ahead + rows - together
        wait = self.line.mean(before) if before > 0 else 0.0
        return rest + wait + self.line.tail(together, passes)

    def queued(self, now: float) -> float:
        """Predict the seconds until all rows in the queue are done; 0 if there are none."""
        return self._rest(now) + self.line.mean(self.ahead) if self.ahead else 0.0

    def _rest(self, now: float) -> float:
        """Return the seconds that the running batch is still expected to take."""
        return max(0.0, self.busy_until - now)


class _Size:
    """Recent batches between two powers of two in size.

    Attributes:
        last: number of the latest of them, counting all batches.
        usual: rows and seconds that a third of them stay below.
    """

    def __init__(self) -> None:
        self._rows: deque[int] = deque(maxlen=A_SIZE)
        self._seconds: deque[float] = deque(maxlen=A_SIZE)
        self._since = 0
        self.last = 0
        self.usual = (1, 0.0)

    def add(self, number: int, rows: int, seconds: float) -> bool:
        """Add a batch; return whether all earlier ones were far slower and have been forgotten."""
        self.last = number
        forgets = bool(self._seconds) and seconds * FAR_SHORTER < self.usual[1]
        forgets = forgets and seconds * FAR_SHORTER < min(self._seconds)
        if forgets:
            self._rows.clear()
            self._seconds.clear()
        self._rows.append(rows)
        self._seconds.append(seconds)
        self._since += 1
        return forgets

    def look(self) -> bool:
        """Recompute what is usual if half of the batches are new or there are few.

        Returns whether it did.
        """
        count = len(self._seconds)
        if count > SURE and self._since < count // 2:
            return False
        third = (count - 1) // THIRD
        self.usual = sorted(self._rows)[third], sorted(self._seconds)[third]
        self._since = 0
        return True

    def weight(self, now: int) -> float:
        """Return the weight in the fit once `now` batches have been observed."""
        return len(self._seconds) * max(LEAST, 0.5 ** ((now - self.last) / HALF_FADED))

    def is_sure(self, now: int) -> bool:
        """Return whether to believe this size even if other sizes contradict it."""
        return len(self._seconds) >= SURE and now - self.last < STALE


class LatencyModel:
    """Predicts the seconds of a batch of n rows: usually a·n + b, and a .99 quantile.

    A machine stalls now and then: another program uses its processors, or a thread is not woken. A
    stall only makes a batch longer, by some milliseconds whatever its size. One stall must not
    cause larger batches to be refused as late: a refused request does not run, so the model learns
    nothing from it.

    - For each **size** (between two powers of two), the value that a third of its latest 32 batches
      stay below counts. It holds until two thirds of them have stalled.
    - A size with few or only old observations, such as from the warm-up, is **bounded by the
      others**: a batch takes no longer than a larger one, and its time grows at most in proportion
      to its rows from a smaller one. So a stall in the warm-up counts only if the neighbouring
      sizes stalled too.
    - The **line** is the least-squares fit of relative errors to these points, with a, b >= 0: one
      row counts as much as a thousand. Sizes that have not been seen lately hardly count, but they
      determine the slope while the others say nothing about it.
    - The **tail** has two parts: `factor`, the .99 quantile of seconds / usual below 4, in
      proportion to the batch; and `stall`, the .99 quantile of the seconds beyond 4 times the
      usual, the same for all sizes. A row that took .08 s rather than 50 µs does not mean that
      1,000 rows take 1,600 times as long.
    - A batch 8 times **shorter** than all remembered ones of its size shows that those stalled:
      they are forgotten at once.

    Tests state how far predictions may be off. A prediction that is too long is only corrected when
    a request is tried in spite of it (`cascade.probing`), or when an idle teacher measures itself.

    One thread observes. Others may predict at the same time, as inside Triton, where the teacher is
    observed beside the batches: the prediction is one value, replaced by another only when that is
    complete.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, _Size] = {}
        self._observed = 0
        self._recent: deque[tuple[int, float]] = deque(maxlen=RECENT)
        self._since_refresh = 0
        self._line = Line()

    @property
    def known(self) -> bool:
        """Whether anything has been observed; before that, predictions are 0."""
        return bool(self._sizes)

    def observe(self, rows: int, seconds: float) -> None:
        """Observe that a batch of `rows` took `seconds`, both > 0."""
        size = self._sizes.get(rows.bit_length())
        if size is None:
            size = self._sizes[rows.bit_length()] = _Size()
        self._observed += 1
        if size.add(self._observed, rows, seconds):
            self._recent.clear()
            self._line = self._line._replace(factor=FIRST_FACTOR, stall=0.0)
            self._since_refresh = 0
        if size.look():
            self._fit()
        self._recent.append((rows, seconds))
        self._since_refresh += 1
        if self._since_refresh >= REFRESH and len(self._recent) >= ENOUGH:
            self._refresh()

    def _refresh(self) -> None:
        """Compute the tail again, from what recent batches took relative to what is usual now."""
        a, b, bound = self._line.a, self._line.b, MOST_SPREAD
        factors, stalls = [], []
        for rows, seconds in self._recent:
            usual = a * rows + b
            factor = seconds / usual
            if factor <= bound:
                factors.append(factor)
            else:
                stalls.append(seconds - bound * usual)
        count = len(self._recent)
        factor = max(1.0, _quantile(factors, len(factors))) if factors else bound
        self._line = Line(a, b, factor, _quantile(stalls, count))
        self._since_refresh = 0

    def _fit(self) -> None:
        now = self._observed
        sizes = sorted(self._sizes.items())
        points = _held([(*size.usual, size.is_sure(now)) for _, size in sizes])
        # Weighted sums over the sizes.
        weight_sum = rows_sum = seconds_sum = 0.0
        weights = []
        for (_, size), (rows, seconds) in zip(sizes, points, strict=True):
            weight = size.weight(now) / (seconds * seconds)
            weights.append(weight)
            weight_sum += weight
            rows_sum += weight * rows
            seconds_sum += weight * seconds
        mean_rows, mean_seconds = rows_sum / weight_sum, seconds_sum / weight_sum
        # Relative to the means: otherwise rounding would lose the slope of sizes that hardly count.
        variance = covariance = rows_squared = rows_seconds = 0.0
        for weight, (rows, seconds) in zip(weights, points, strict=True):
            variance += weight * (rows - mean_rows) * (rows - mean_rows)
            covariance += weight * (rows - mean_rows) * (seconds - mean_seconds)
            rows_squared += weight * rows * rows
            rows_seconds += weight * rows * seconds
        # Batches of one size say nothing about the slope, so all time is attributed to rows.
        if len(points) == 1 or variance <= 0:
            a, b = rows_seconds / rows_squared, 0.0
        else:
            a = covariance / variance
            b = mean_seconds - a * mean_rows
            if a < 0:
                a, b = 0.0, mean_seconds
            elif b < 0:
                a, b = rows_seconds / rows_squared, 0.0
        self._line = self._line._replace(a=a, b=b)

    def mean(self, rows: int) -> float:
        """Return the expected seconds of a batch."""
        return self._line.mean(rows)

    def tail(self, rows: int, passes: int = 1) -> float:
        """Return the .99 quantile of the seconds that some passes over so many rows take."""
        if passes == 1:
            a, b, factor, stall = self._line
            return factor * (a * rows + b) + stall
        return self._line.tail(rows, passes)

    @property
    def line(self) -> Line:
        """Return the current prediction."""
        return self._line


def _quantile(values: list[float], count: int) -> float:
    """Return the `TAIL` quantile of `count` values; those not given are the smallest, and 0."""
    given = int(TAIL * count) - (count - len(values))
    return sorted(values)[min(given, len(values) - 1)] if given >= 0 and values else 0.0


def _held(points: list[tuple[int, float, bool]]) -> list[tuple[int, float]]:
    """Return rows and seconds of sizes, in increasing order; sure sizes bound the others."""
    seconds = [each for _, each, _ in points]
    least = math.inf
    for place in range(len(points) - 1, -1, -1):
        least = min(least, seconds[place])
        if not points[place][2]:
            seconds[place] = least
    a_row = math.inf
    for place, (rows, own, sure) in enumerate(points):
        a_row = min(a_row, own / rows)
        if not sure:
            seconds[place] = min(seconds[place], a_row * rows)
    return [(rows, each) for (rows, _, _), each in zip(points, seconds, strict=True)]


class Hindsight:
    """Recent seconds beyond the prediction, for reasons that the engine cannot see.

    A process that waits for a processor measures its computation, but not how late it is woken for
    the next request. That lateness raises the delay. The delay falls by itself, since requests that
    are no longer sent reveal nothing: after a while, a few are sent to find out.
    """

    def __init__(self) -> None:
        self._delay, self._at = 0.0, 0.0

    def delay(self, now: float) -> float:
        """Return the seconds to add to a prediction.

        Args:
            now: seconds on a monotonic clock. If the clock steps back nonetheless (a restored
                virtual machine, a faked clock), nothing fades meanwhile.
        """
        return self._delay * float(0.5 ** (max(0.0, now - self._at) / HALF_LIFE))

    def observe(self, now: float, predicted: float, took: float) -> None:
        """Observe how long work took beside its prediction.

        The prediction is without the delay. Abandoned work counts with the seconds until then.
        """
        delay, late = self.delay(now), took - predicted
        if late > delay:
            self._delay, self._at = delay + PULL * (late - delay), now
