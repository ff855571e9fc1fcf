"""What is asked of the releases, and what becomes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cascade_server.errors import NotAllowed, ServerError
from cascade_server.releases.found import Key
from cascade_server.supervision.control import ERRORS
from cascade_server.supervision.crews import Crew, Member


@dataclass(eq=False)
class Change:
    """Something that was asked of the releases: by workers' callers, or by nobody in particular.

    Attributes:
        what: "load", "unload", "canary", "promote", "roll_back" or "list"; "poll" and "begin" are
            the supervisor's own.
        given: the table, the version and whatever else was said.
        waiters: who waits for an answer: a worker, and the question's number as that one counts.
        refused: releases that turned out to be unusable on the way, and why. The rest is loaded
            without them, and whoever asked for them is told in the end.
        is_wanted: whether it is to be made whoever waits for it: nobody asked for it by a call.
        kept_until: when it is forgotten, unless whoever wanted it has asked again by then.
    """

    what: str
    given: Mapping[str, Any] = field(default_factory=dict)
    waiters: list[tuple[Member, int]] = field(default_factory=list)
    refused: dict[Key, str] = field(default_factory=dict)
    is_wanted: bool = field(init=False)
    kept_until: float = math.inf

    def __post_init__(self) -> None:
        self.is_wanted = not self.waiters

    def is_same(self, other: Change) -> bool:
        """Whether who asks for the other one may as well be told what becomes of this one."""
        alike = (self.what, self.given) == (other.what, other.given)
        return alike and not self.refused and not other.refused

    def join(self, other: Change) -> None:
        """Have who waits for an equal one wait for this one."""
        self.waiters += other.waiters
        self.is_wanted |= other.is_wanted
        self.kept_until = math.inf

    def give_back(self, staying: Crew, why: ServerError, until: float) -> None:
        """Tell who waits in a process that leaves why it cannot be told what becomes of it.

        Args:
            staying: the crew that does not leave.
            why: what they are told.
            until: when it is forgotten, if nobody else waits for it.
        """
        leaving = [each for each in self.waiters if each[0].crew is not staying]
        self.waiters = [each for each in self.waiters if each[0].crew is staying]
        self._tell(leaving, **_refusal(why))
        if leaving and not self.waiters and not self.is_wanted:
            self.kept_until = until

    def names(self, key: Key) -> bool:
        """Whether a release is among those that are to be loaded by name, table, or as all."""
        table, version = self.given.get("table", ""), self.given.get("version", 0)
        return self.what == "load" and table in ("", key[0]) and version in (0, key[1])

    def is_for_alone(self, key: Key) -> bool:
        """Whether it is for one release and no other, by table and version."""
        return self.names(key) and bool(self.given["table"] and self.given["version"])

    def ended(self, told: Mapping[str, Any], rest: str) -> None:
        """As much of it is done as can be.

        Args:
            told: how things are now.
            rest: what became of all that was not refused.
        """
        if reasons := [why for key, why in self.refused.items() if self.names(key)]:
            self.failed(NotAllowed("; ".join((*reasons, rest))))
        else:
            self.done(told)

    def done(self, told: Mapping[str, Any]) -> None:
        """The change is made: whoever waits for it is told so."""
        self._tell(self.waiters, done=told)

    def failed(self, error: ServerError) -> None:
        """The change cannot be made: whoever waits for it is told why."""
        self._tell(self.waiters, **_refusal(error))

    @staticmethod
    def _tell(waiters: Sequence[tuple[Member, int]], **what: Any) -> None:
        for member, number in waiters:
            member.tell(answer=number, **what)


def _refusal(error: ServerError) -> dict[str, str]:
    return {"error": str(error), "kind": kind_of(error)}


def kind_of(error: Exception) -> str:
    """The error's class, as `control.ERRORS` knows it."""
    names = (each.__name__ for each in type(error).__mro__)
    return next((name for name in names if name in ERRORS), "")
