"""Changes that wait for their turn, and whoever waits for them."""

from __future__ import annotations

import math
from collections import deque

from cascade_server.errors import NotReady
from cascade_server.releases.changes import Change
from cascade_server.supervision.crews import Crew

# Seconds for which somebody's turn is kept who was told to ask again: several times as long as a
# client waits before it does.
RETURN_SECONDS = 5.0
GIVEN_BACK = (
    "nothing of this is begun: another change was underway, and the process that was asked leaves "
    "now that it is made; ask again, this one's turn is kept for you"
)


class Waiting:
    """First come, first served; those who ask for the same are served together.

    A generation of processes is replaced by every change, so whoever waits in one of its processes
    for the change after it cannot be told how that ended. They are told to ask again, and their
    turn is kept until they have: without that whoever asks at the right moment overtakes them each
    time, and they give up at last.
    """

    def __init__(self) -> None:
        self._changes: deque[Change] = deque()

    def __contains__(self, change: Change) -> bool:
        return any(each is change for each in self._changes)

    def has(self, what: str) -> bool:
        """Whether a change of some kind is among them."""
        return any(each.what == what for each in self._changes)

    def add(self, change: Change) -> None:
        """Take one more; or let who asks wait for an equal one that is not begun yet."""
        for each in self._changes:
            if each.is_same(change):
                each.join(change)
                return
        self._changes.append(change)

    def add_first(self, change: Change) -> None:
        """Take back one that was begun, of which the rest is to be tried again."""
        self._changes.appendleft(change)

    def give_back(self, staying: Crew, now: float) -> None:
        """Tell those whose processes leave to ask again.

        Args:
            staying: the crew that answers from now on.
            now: seconds, as for `first`.
        """
        for each in self._changes:
            each.give_back(staying, NotReady(GIVEN_BACK), now + RETURN_SECONDS)

    def first(self, now: float) -> tuple[Change | None, float]:
        """Whose turn it is, and when to look again: the change stays until it is `taken`."""
        self._changes = deque(each for each in self._changes if now < each.kept_until)
        if not self._changes:
            return None, math.inf
        first = self._changes[0]
        return (first, now) if first.kept_until == math.inf else (None, first.kept_until)

    def take(self) -> Change:
        """The first one, which begins now."""
        return self._changes.popleft()
