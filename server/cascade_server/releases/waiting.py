"""Changes that wait until a generation can make them, and whoever waits for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cascade_server.errors import NotReady
from cascade_server.releases.changes import Change, Turn
from cascade_server.supervision.crews import Crew, Member

# Seconds for which a change waits for whoever was told to ask for it again; several times as long
# as a client waits before it does.
RETURN_SECONDS = 5.0
GIVEN_BACK = (
    "nothing of this is begun: another change was underway, and the process that was asked leaves "
    f"now that it is made; ask again within {RETURN_SECONDS:g} s, and it is among the next"
)


@dataclass
class _Place:
    """A change in the order, and until when it waits for who asked for it, or inf: nobody left."""

    change: Change
    until: float = math.inf


class Waiting:
    """All that waits when a generation can be begun is made by that one, in its order.

    A change replaces the processes, so whoever waits in one of them for the change after it could
    not be told what became of that. They are told to ask again, and the next generation is begun
    once they have, or have had the time to: without that they would be told so again each time, and
    give up at last. What nobody asks for again is not made.
    """

    def __init__(self) -> None:
        self._places: list[_Place] = []
        self._rest: Turn | None = None

    def add(self, change: Change) -> None:
        """Take one more, or who has come back for one."""
        for each in self._places:
            if each.until < math.inf and each.change.is_as(change):
                each.change, each.until = change, math.inf
                return
        self._places.append(_Place(change))

    def add_unless_there(self, change: Change) -> None:
        """Take one of which nobody is told, unless there is such a one."""
        if not any(each.change.is_as(change) and each.change.is_silent for each in self._places):
            self._places.append(_Place(change))

    def try_again(self, turn: Turn) -> None:
        """Have the rest of a turn be the next one."""
        self._rest = turn

    def is_tried_again(self, turn: Turn) -> bool:
        """Whether that is so."""
        return turn is self._rest

    def give_back(self, leaving: Crew, now: float) -> None:
        """Tell those who wait in processes that leave to ask again.

        Args:
            leaving: those processes.
            now: seconds, as for `due`.
        """
        for each in self._places:
            member = each.change.member
            if each.until == math.inf and member is not None and member.crew is leaving:
                each.change.failed(NotReady(GIVEN_BACK))
                each.until = now + RETURN_SECONDS

    def due(self, now: float) -> float:
        """When a turn can be begun, as far as those go who wait; inf: nobody does."""
        self._places = [
            each
            for each in self._places
            # Who was told to ask again does so of another process.
            if now < each.until and (each.until < math.inf or not each.change.is_orphaned)
        ]
        if self._rest is not None:
            return now
        if not self._places:
            return math.inf
        return max((each.until for each in self._places if each.until < math.inf), default=now)

    def is_wanted(self, or_polled: bool) -> bool:
        """Whether there is a change that waits for nothing but its turn.

        Args:
            or_polled: whether looks at the repository, for which nobody has asked, count too.
        """
        return self._rest is not None or any(
            or_polled or each.change.what != "poll"
            for each in self._places
            if each.until == math.inf
        )

    def withdraw(self, member: Member, number: int) -> None:
        """Whoever asked waits no more: what is not begun is not made."""
        self._places = [
            each
            for each in self._places
            if (each.change.member, each.change.number) != (member, number)
        ]

    def take(self) -> Turn:
        """The next turn, which begins now."""
        turn, self._rest = self._rest, None
        if turn is None:
            turn = Turn([each.change for each in self._places])
            self._places = []
        return turn
