"""Changes that wait until a generation can make them, and their waiting callers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cascade_server.errors import NotReady
from cascade_server.releases.changes import Change, Turn
from cascade_server.supervision.crews import Crew, Member

# Seconds for which a change waits for callers that were told to ask again; several times as long as
# a client waits before it does.
RETURN_SECONDS = 5.0
GIVEN_BACK = (
    "nothing of this is begun: another change was underway, and the process that was asked leaves "
    f"now that it is made; ask again within {RETURN_SECONDS:g} s, and it is among the next"
)


@dataclass
class _Place:
    """A change in the queue, and until when it waits for its caller's return.

    The time is inf if the caller never left.
    """

    change: Change
    until: float = math.inf


class Waiting:
    """The queue of changes; the next generation makes all of them together, in order.

    A change replaces the processes, so callers in an old process that wait for a later change could
    not be told its outcome. They are told to ask again, and the next generation starts once they
    have, or have had the time to; otherwise they would be told so again each time, and finally give
    up. A change that is not requested again is dropped.
    """

    def __init__(self) -> None:
        self._places: list[_Place] = []
        self._rest: Turn | None = None

    def add(self, change: Change) -> None:
        """Add a change, or a caller that has returned for one."""
        for each in self._places:
            if each.until < math.inf and each.change.is_as(change):
                each.change, each.until = change, math.inf
                return
        self._places.append(_Place(change))

    def add_unless_there(self, change: Change) -> None:
        """Add a change whose outcome nobody is told, unless there is one already."""
        if not any(each.change.is_as(change) and each.change.is_silent for each in self._places):
            self._places.append(_Place(change))

    def try_again(self, turn: Turn) -> None:
        """Make the rest of a turn the next turn."""
        self._rest = turn

    def is_tried_again(self, turn: Turn) -> bool:
        """Return whether the turn is to be tried again."""
        return turn is self._rest

    def give_back(self, leaving: Crew, now: float) -> None:
        """Tell callers in processes that leave to ask again.

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
        """Return when a turn can start as far as waiting callers matter; inf if there are none."""
        self._places = [
            each
            for each in self._places
            # A caller that was told to ask again does so in another process.
            if now < each.until and (each.until < math.inf or not each.change.is_orphaned)
        ]
        if self._rest is not None:
            return now
        if not self._places:
            return math.inf
        return max((each.until for each in self._places if each.until < math.inf), default=now)

    def is_wanted(self, or_polled: bool) -> bool:
        """Return whether a change waits for nothing but its turn.

        Args:
            or_polled: whether checks of the repository, which no caller requested, count too.
        """
        return self._rest is not None or any(
            or_polled or each.change.what != "poll"
            for each in self._places
            if each.until == math.inf
        )

    def withdraw(self, member: Member, number: int) -> None:
        """Remove a caller that no longer waits; a change that has not started is dropped."""
        self._places = [
            each
            for each in self._places
            if (each.change.member, each.change.number) != (member, number)
        ]

    def take(self) -> Turn:
        """Return the next turn, which starts now."""
        turn, self._rest = self._rest, None
        if turn is None:
            turn = Turn([each.change for each in self._places])
            self._places = []
        return turn
