"""Whether to try now and then what is predicted to be late: who is refused shows nothing.

A prediction that is too long by mistake would stand for ever, since only what is run is measured:
as a circuit breaker that has opened does, it has to let one through to see.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

# Seconds from the first refusal to the first trial; twice as many after each that was late.
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 80.0


@dataclass
class _Refused:
    """Of one kind of work: seconds to the trial after the next one, and when the next is due."""

    pause: float
    due: float


class Probing:
    """Says which of those who would be refused is tried all the same; see `kind_of`.

    As long as what is tried is in time, the next one is tried as soon as that is known; after one
    that was late there is a pause, so that the hopeless cost one run in `LONGEST_PAUSE`.
    """

    def __init__(self) -> None:
        self._kinds: dict[Hashable, _Refused] = {}

    def tries(self, kind: Hashable, now: float) -> bool:
        """One of a kind is to be refused: whether it is run instead; `ended` is to be called then.

        Args:
            kind: of work that is predicted alike.
            now: seconds on a clock that only grows.
        """
        found = self._kinds.get(kind)
        if found is None:
            self._kinds[kind] = _Refused(FIRST_PAUSE, now + FIRST_PAUSE)
            return False
        if now < found.due:
            return False
        # Whatever becomes of it.
        found.due, found.pause = now + found.pause, min(LONGEST_PAUSE, 2 * found.pause)
        return True

    def ended(self, kind: Hashable, now: float, in_time: bool) -> None:
        """One that was tried is over."""
        if in_time:
            found = self._kinds[kind]
            found.due, found.pause = now, FIRST_PAUSE


def kind_of(release: str, tier: str, rows: int) -> Hashable:
    """Work that is predicted alike: a release's, by a tier, between two powers of two of rows."""
    return release, tier, rows.bit_length()
