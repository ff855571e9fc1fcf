"""Occasionally runs a request that is predicted to be late, to check the prediction.

Only work that runs is measured. A prediction that is too long by mistake would refuse everything,
and so would never be corrected. Like an open circuit breaker, it must let one request through.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass

# Seconds from the first refusal to the first trial, and how often that pause may double: once after
# each late trial. Between trials there must be as many refusals as the pause was multiplied by, so
# that at most one in 17 rare requests is spent on a trial.
FIRST_PAUSE, DOUBLINGS = 5.0, 4
LONGEST_PAUSE = FIRST_PAUSE * 2**DOUBLINGS
# A request with less than this share of the predicted seconds left is refused and does not count
# as a trial: predictions were seen to be five times too long at worst.
LEAST_LEFT = 1 / 16
# Seconds after its last refusal after which a kind of work is forgotten.
FORGOTTEN = 600.0


@dataclass
class _Refused:
    """The state of one kind of work that is being refused.

    Attributes:
        due: when the next trial may be made, in seconds on the clock of `tries`.
        refusals: number of further refusals required before it.
        late: number of trials since the last one that was in time.
        seen: when such work was last refused or tried.
    """

    due: float
    refusals: int
    late: int
    seen: float


class Probing:
    """Selects requests to run although they would be refused as too late.

    It decides for each kind of work separately; see `kind_of`. After a trial in time the next may
    follow at once; after a late one there is a pause, twice as long each time. So hopeless work
    costs one run in `LONGEST_PAUSE` seconds.

    Thread-safe, because inside Triton, work ends on another thread than it begins on.
    """

    def __init__(self) -> None:
        # In the order of the last refusals.
        self._kinds: dict[Hashable, _Refused] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of remembered kinds."""
        return len(self._kinds)

    def tries(self, kind: Hashable, now: float, predicted: float, remaining: float) -> bool:
        """Return whether to run a request as a trial instead of refusing it; `ended` must follow.

        Args:
            kind: the kind of work; see `kind_of`.
            now: seconds on a monotonic clock.
            predicted: predicted seconds of the work.
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
        """Note that a trial has ended.

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
    """Return the kind of work that shares a prediction.

    It is one tier of a release, with a number of rows between the same two powers of two.
    """
    return release, tier, rows.bit_length()
