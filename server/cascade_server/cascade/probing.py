"""Lets through, now and then, a request that is predicted to be late, to check the prediction.

Only work that is run is measured. A prediction that is too long by mistake would have everything
refused and so never be corrected; like an open circuit breaker, it has to let one request through.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass

# Seconds from the first refusal to the first trial. The pause doubles after each trial that was
# late, up to so many times. As many refusals have to come in between as the pause was multiplied
# by, so that of rare requests one in 17 at most is spent on a trial.
FIRST_PAUSE, DOUBLINGS = 5.0, 4
LONGEST_PAUSE = FIRST_PAUSE * 2**DOUBLINGS
# A request with less than this share of the predicted seconds left is refused and does not count
# as a trial: predictions were seen to be five times too long at worst.
LEAST_LEFT = 1 / 16
# Seconds after its last refusal after which a kind of work is forgotten.
FORGOTTEN = 600.0


@dataclass
class _Refused:
    """What is known of one kind of work that is being refused.

    Attributes:
        due: when the next trial may be made, in seconds on the clock of `tries`.
        refusals: how many more refusals have to come before it.
        late: trials since the last one that was in time.
        seen: when such work was last refused or tried.
    """

    due: float
    refusals: int
    late: int
    seen: float


class Probing:
    """Says which requests that are to be refused as too late are tried all the same.

    It decides for each kind of work by itself; see `kind_of`. After a trial that was in time the
    next may follow at once; after one that was late there is a pause, twice as long each time. So
    hopeless work costs one run in `LONGEST_PAUSE` seconds.

    Safe to use from several threads: inside Triton, work ends on other threads than it begins on.
    """

    def __init__(self) -> None:
        # In the order in which they were last refused.
        self._kinds: dict[Hashable, _Refused] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many kinds are remembered."""
        return len(self._kinds)

    def tries(self, kind: Hashable, now: float, predicted: float, remaining: float) -> bool:
        """Whether a request that is to be refused is run as a trial; if so, call `ended` after it.

        Args:
            kind: the kind of work; see `kind_of`.
            now: seconds on a monotonic clock.
            predicted: seconds that the work is predicted to take.
            remaining: seconds to its deadline. A request with hardly any left is never tried, nor
                counted as refused, so that trials go to requests that may be in time.
        """
        if remaining <= 0 or remaining < LEAST_LEFT * predicted:
            return False
        with self._lock:
            self._forget(now)
            return self._tries(kind, now)

    def _tries(self, kind: Hashable, now: float) -> bool:
        found = self._kinds.pop(kind, None)
        if found is None:
            self._kinds[kind] = _Refused(now + FIRST_PAUSE, 0, 0, now)
            return False
        self._kinds[kind] = found
        found.seen = now
        if now < found.due or found.refusals:
            found.refusals = max(0, found.refusals - 1)
            return False
        # A trial counts as late until `ended` says otherwise.
        doubled = 2 ** min(found.late, DOUBLINGS)
        found.due, found.refusals = now + FIRST_PAUSE * doubled, doubled
        found.late += 1
        return True

    def ended(self, kind: Hashable, now: float, in_time: bool) -> None:
        """Note that a trial is over.

        Args:
            kind, now: as for `tries`.
            in_time: whether it ended before its deadline.
        """
        with self._lock:
            found = self._kinds.get(kind)
            if in_time and found is not None:
                found.due, found.refusals, found.late = now, 0, 0

    def _forget(self, now: float) -> None:
        while self._kinds:
            oldest = next(iter(self._kinds))
            if now - self._kinds[oldest].seen < FORGOTTEN:
                return
            del self._kinds[oldest]


def kind_of(release: str, tier: str, rows: int) -> Hashable:
    """The kind of work that shares a prediction: one tier of a release, with a number of rows
    between the same two powers of two."""
    return release, tier, rows.bit_length()
