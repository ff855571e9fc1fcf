"""How long a batch will take, learnt from the batches before it."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

# The latest batches of a size (1, 2 or 3, 4 to 7, ...) that are remembered; what a third of them
# stay below counts, for stalls only add; how many make it sure of that.
A_SIZE, THIRD, SURE = 32, 3, 8
# Batches of other sizes, after which half of what a size says is forgotten; after so many it is no
# longer sure; and what is left of its weight in any case.
HALF_FADED, STALE, LEAST = 128, 1024, 1e-6
# A batch so many times shorter than every one that a size remembers shows that those were of a
# while in which the machine stood still: they are forgotten.
FAR_SHORTER = 8.0
# Recent batches that the tail is taken from, the quantile, and after how many it is done anew.
RECENT, TAIL, REFRESH = 256, 0.99, 32
# Until there are enough of them, the tail is taken to be this many times the mean.
FIRST_FACTOR, ENOUGH = 2.0, 32
# What a batch took beyond so many times what is usual was no work of its own: a stall.
MOST_SPREAD = 4.0
# Of `Hindsight`: the weight of one observation, and seconds after which half of it is forgotten.
PULL = 0.25
HALF_LIFE = 1.0


class Line(NamedTuple):
    """A prediction.

    Attributes:
        a, b: a batch of n rows usually takes a·n + b seconds.
        factor: how many times that the .99 quantile is, of batches that were not stalled.
        stall: the .99 quantile of the seconds that a batch stands still, of whatever size.
    """

    a: float = 0.0
    b: float = 0.0
    factor: float = FIRST_FACTOR
    stall: float = 0.0

    def mean(self, rows: int) -> float:
        """Expected seconds of a batch."""
        return self.a * rows + self.b

    def tail(self, rows: int, passes: int = 1) -> float:
        """Seconds that all but a hundredth of such batches stay below.

        Of several passes one after the other, the spreads add up as of independent ones.
        """
        mean = self.a * rows + self.b
        return passes * mean + math.sqrt(passes) * ((self.factor - 1) * mean + self.stall)


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


class _Size:
    """What batches between two powers of two have taken of late.

    Attributes:
        last: the number of the latest of them, of all batches.
        usual: rows and seconds that a third of them stay below.
    """

    def __init__(self) -> None:
        self._rows: deque[int] = deque(maxlen=A_SIZE)
        self._seconds: deque[float] = deque(maxlen=A_SIZE)
        self._since = 0
        self.last = 0
        self.usual = (1, 0.0)

    def add(self, number: int, rows: int, seconds: float) -> bool:
        """One more; returns whether all before were far slower, and have been forgotten."""
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
        """Take what is usual anew, if half of the batches are new or there are few; returns
        whether it was done."""
        count = len(self._seconds)
        if count > SURE and self._since < count // 2:
            return False
        third = (count - 1) // THIRD
        self.usual = sorted(self._rows)[third], sorted(self._seconds)[third]
        self._since = 0
        return True

    def weight(self, now: int) -> float:
        """In the fit, when so many batches have been observed."""
        return len(self._seconds) * max(LEAST, 0.5 ** ((now - self.last) / HALF_FADED))

    def is_sure(self, now: int) -> bool:
        """Whether it is to be believed against what other sizes say."""
        return len(self._seconds) >= SURE and now - self.last < STALE


class LatencyModel:
    """Seconds of a batch of n rows: usually a·n + b, and a .99 quantile.

    A machine stands still now and then: another program has its processors, a thread is not woken.
    That only ever makes a batch longer, by some milliseconds whatever its size. One such must not
    have larger batches refused as late: who is refused is not run, and nothing is learnt of it.

    - Of each **size** (between two powers of two) counts what a third of its latest 32 batches
      stay below: it stands until two thirds of them were stalled.
    - A size of which little is known, from the warm-up or long ago, is **held by the others**: a
      batch takes no longer than a larger one, and no more than so many times a smaller one as it
      has more rows. So a stall in the warm-up counts only if the sizes beside were stalled too.
    - The **line** is the least-squares fit of relative errors to these points, with a, b >= 0: one
      row counts as much as a thousand. Sizes that have not been seen of late hardly count, but the
      slope stays theirs while others say nothing of it.
    - The **tail** is made of two: `factor`, the .99 quantile of seconds / usual below 4, in
      proportion to the batch; and `stall`, the .99 quantile of the seconds beyond 4 times the
      usual, the same for all. A row that took .08 s rather than 50 µs does not mean that 1,000
      rows take 1,600 times as long.
    - A batch 8 times **shorter** than all that its size remembers shows that these were stalled:
      they are forgotten at once.

    Tests state how far predictions may be off. A prediction that is too long is found out only when
    somebody is tried in spite of it (`cascade.probing`), or when an idle teacher measures
    itself. One thread observes. Others may ask it meanwhile, as inside Triton, where the teacher is
    observed beside the batches: what it predicts is one value, put in another's place when it is
    whole.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, _Size] = {}
        self._observed = 0
        self._recent: deque[tuple[int, float]] = deque(maxlen=RECENT)
        self._since_refresh = 0
        self._line = Line()

    @property
    def known(self) -> bool:
        """Whether anything has been observed; a prediction before that is 0."""
        return bool(self._sizes)

    def observe(self, rows: int, seconds: float) -> None:
        """A batch of `rows` took `seconds`, both > 0."""
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
        """Take the tail anew, of what the recent batches took beside what is usual now."""
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
        # About the means: of sizes that hardly count the slope would be lost to rounding.
        variance = covariance = rows_squared = rows_seconds = 0.0
        for weight, (rows, seconds) in zip(weights, points, strict=True):
            variance += weight * (rows - mean_rows) * (rows - mean_rows)
            covariance += weight * (rows - mean_rows) * (seconds - mean_seconds)
            rows_squared += weight * rows * rows
            rows_seconds += weight * rows * seconds
        # Batches of one size say nothing of the slope: all of it goes to rows.
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
        """Expected seconds of a batch."""
        return self._line.mean(rows)

    def tail(self, rows: int, passes: int = 1) -> float:
        """The .99 quantile of the seconds that some passes over so many rows take."""
        if passes == 1:
            a, b, factor, stall = self._line
            return factor * (a * rows + b) + stall
        return self._line.tail(rows, passes)

    @property
    def line(self) -> Line:
        """What it predicts now."""
        return self._line


def _quantile(values: list[float], count: int) -> float:
    """The `TAIL` quantile of `count` values, of which those that are not given are the smallest
    and 0."""
    given = int(TAIL * count) - (count - len(values))
    return sorted(values)[min(given, len(values) - 1)] if given >= 0 and values else 0.0


def _held(points: list[tuple[int, float, bool]]) -> list[tuple[int, float]]:
    """Rows and seconds of sizes, in increasing order; who is not sure is held by the others."""
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
            now: seconds on a clock that only grows. Where it is stepped back nonetheless (a virtual
                machine that is restored, a faked clock) nothing fades meanwhile.
        """
        return self._delay * float(0.5 ** (max(0.0, now - self._at) / HALF_LIFE))

    def observe(self, now: float, predicted: float, took: float) -> None:
        """Work that was predicted to take `predicted` seconds, without the delay, took longer or
        less; or had taken so long when it was given up."""
        delay, late = self.delay(now), took - predicted
        if late > delay:
            self._delay, self._at = delay + PULL * (late - delay), now
