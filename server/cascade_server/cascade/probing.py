"""Whether to try now and then what is predicted to be late: who is refused shows nothing.

A prediction that is too long by mistake would stand for ever, since only what is run is measured:
as a circuit breaker that has opened does, it has to let one through to see.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass

# Seconds from the first refusal to the first trial; twice as many after each that was late, so
# often at most. Refusals are counted alike: of what is asked for seldom one in 17 is run at most.
FIRST_PAUSE, DOUBLINGS = 5.0, 4
LONGEST_PAUSE = FIRST_PAUSE * 2**DOUBLINGS
# Who has less than this part of the predicted seconds left is refused whatever was found out:
# predictions were seen to be five times too long at worst.
LEAST_LEFT = 1 / 16
# Seconds after its last refusal in which a kind is forgotten.
FORGOTTEN = 600.0


@dataclass
class _Refused:
    """Of one kind of work.

    Attributes:
        due: when the next trial may be made.
        refusals: that have to come before it.
        late: trials since the last that was in time.
        seen: when one was last to be refused.
    """

    due: float
    refusals: int
    late: int
    seen: float


class Probing:
    """Says which of those who would be refused is tried all the same; see `kind_of`.

    As long as what is tried is in time, the next one is tried as soon as that is known. After one
    that was late there is a pause, and others are refused, so that the hopeless cost one run in
    `LONGEST_PAUSE`, and of what is asked for less often than that no more than a few calls their
    early refusal. For several threads: inside Triton work ends beside the batches.
    """

    def __init__(self) -> None:
        # Who was refused last is the last.
        self._kinds: dict[Hashable, _Refused] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many kinds are remembered."""
        return len(self._kinds)

    def tries(self, kind: Hashable, now: float, predicted: float, remaining: float) -> bool:
        """One of a kind is to be refused: whether it is run instead; `ended` is to be called then.

        Args:
            kind: of work that is predicted alike.
            now: seconds on a clock that only grows.
            predicted: seconds that it is predicted to take.
            remaining: seconds to its deadline; who has hardly any is not counted as refused, so
                that trials are left to those who may be in time.
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
        # Whatever becomes of it.
        doubled = 2 ** min(found.late, DOUBLINGS)
        found.due, found.refusals = now + FIRST_PAUSE * doubled, doubled
        found.late += 1
        return True

    def ended(self, kind: Hashable, now: float, in_time: bool) -> None:
        """One that was tried is over."""
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
    """Work that is predicted alike: a release's, by a tier, between two powers of two of rows."""
    return release, tier, rows.bit_length()
