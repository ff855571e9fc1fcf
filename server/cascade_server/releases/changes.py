"""What is asked of the releases, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cascade_server.errors import NotAllowed, ServerError
from cascade_server.releases.found import Key
from cascade_server.supervision.control import ERRORS
from cascade_server.supervision.crews import Member


@dataclass(frozen=True, eq=False)
class Change:
    """Something that was asked of the releases: by a worker's caller, or by nobody in particular.

    Attributes:
        what: "load", "unload", "canary", "promote", "roll_back" or "list"; "poll" and "begin" are
            the supervisor's own.
        given: the table, the version and whatever else was said.
        member: the worker that waits for an answer; None: nobody does.
        number: of the question, as that worker counts.
        pid: of the process that it was when it asked.
    """

    what: str
    given: Mapping[str, Any] = field(default_factory=dict)
    member: Member | None = None
    number: int = 0
    pid: int = 0

    @property
    def is_silent(self) -> bool:
        """Whether nobody is told what becomes of it."""
        return self.member is None

    @property
    def is_orphaned(self) -> bool:
        """Whether the process that asked has died, and with it the call."""
        return self.member is not None and self.member.pid != self.pid

    def names(self, key: Key) -> bool:
        """Whether a release is among those that are to be loaded by name, table, or as all."""
        table, version = self.given.get("table", ""), self.given.get("version", 0)
        return self.what == "load" and table in ("", key[0]) and version in (0, key[1])

    def is_for_alone(self, key: Key) -> bool:
        """Whether it is for one release and no other, by table and version."""
        return self.names(key) and bool(self.given["table"] and self.given["version"])

    def is_as(self, other: Change) -> bool:
        """Whether it asks for what the other one asks for."""
        return (self.what, self.given) == (other.what, other.given)

    def done(self, told: Mapping[str, Any]) -> None:
        """The change is made: whoever waits for it is told so."""
        if self.member is not None:
            self.member.tell(answer=self.number, done=told)

    def failed(self, error: ServerError) -> None:
        """The change cannot be made: whoever waits for it is told why."""
        if self.member is not None:
            self.member.tell(answer=self.number, error=str(error), kind=kind_of(error))


@dataclass(eq=False)
class Turn:
    """Changes that one generation makes together, in the order in which they were asked for.

    Attributes:
        changes: those that can still be made.
        refused: releases that turned out to be unusable on the way, and why. The rest is loaded
            without them, and whoever asked for them is told in the end.
    """

    changes: list[Change]
    refused: dict[Key, str] = field(default_factory=dict)

    @property
    def is_a_poll(self) -> bool:
        """Whether nobody has asked for anything: the supervisor looks whether there is news."""
        return all(each.what == "poll" for each in self.changes)

    @property
    def has_silent(self) -> bool:
        """Whether nobody is told what becomes of one of them."""
        return any(each.is_silent for each in self.changes)

    def names(self, key: Key) -> bool:
        """Whether somebody asks for a release by name, by its table, or for all."""
        return any(each.names(key) for each in self.changes)

    def drop(self, change: Change, why: ServerError) -> None:
        """One of them cannot be made, whatever becomes of the others."""
        self.changes.remove(change)
        change.failed(why)

    def go_on_without(self, culprit: Key, why: str, as_before: str) -> None:
        """A release cannot be loaded: whoever asked for it alone is told so, the rest goes on.

        Args:
            culprit: the release.
            why: it cannot be.
            as_before: what became of all else that is served.
        """
        self.refused[culprit] = why
        for each in [each for each in self.changes if each.is_for_alone(culprit)]:
            self.drop(each, NotAllowed(f"{why}; {as_before}"))

    def ended(self, told: Mapping[str, Any], rest: str) -> None:
        """As much of it is done as can be.

        Args:
            told: how things are now.
            rest: what became of all that was not refused.
        """
        for each in self.changes:
            if reasons := [why for key, why in self.refused.items() if each.names(key)]:
                each.failed(NotAllowed("; ".join((*reasons, rest))))
            else:
                each.done(told)

    def failed(self, error: ServerError) -> None:
        """None of it can be made: whoever waits is told why."""
        for each in self.changes:
            each.failed(error)


def kind_of(error: Exception) -> str:
    """The error's class, as `control.ERRORS` knows it."""
    names = (each.__name__ for each in type(error).__mro__)
    return next((name for name in names if name in ERRORS), "")
