"""Changes of the releases, and their outcomes."""

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
    """A change of the releases, requested by a worker's caller or by the supervisor itself.

    Attributes:
        what: "load", "unload", "canary", "promote", "roll_back" or "list"; "poll" and "begin" are
            the supervisor's own.
        given: the table, the version and all other arguments.
        member: the worker that waits for an answer; None if none does.
        number: the worker's number of the request.
        pid: the worker's process when it sent the request.
    """

    what: str
    given: Mapping[str, Any] = field(default_factory=dict)
    member: Member | None = None
    number: int = 0
    pid: int = 0

    @property
    def is_silent(self) -> bool:
        """Whether nobody is told the outcome."""
        return self.member is None

    @property
    def is_orphaned(self) -> bool:
        """Whether the process that sent the request has died, and the call with it."""
        return self.member is not None and self.member.pid != self.pid

    def names(self, key: Key) -> bool:
        """Return whether the change loads a release by name, by its table, or among all."""
        table, version = self.given.get("table", ""), self.given.get("version", 0)
        return self.what == "load" and table in ("", key[0]) and version in (0, key[1])

    def is_for_alone(self, key: Key) -> bool:
        """Return whether the change is for this one release only, by table and version."""
        return self.names(key) and bool(self.given["table"] and self.given["version"])

    def is_as(self, other: Change) -> bool:
        """Return whether it requests the same as another change."""
        return (self.what, self.given) == (other.what, other.given)

    def done(self, told: Mapping[str, Any]) -> None:
        """Report success to the waiting worker, if any."""
        if self.member is not None:
            self.member.tell(answer=self.number, done=told)

    def failed(self, error: ServerError) -> None:
        """Report an error to the waiting worker, if any."""
        if self.member is not None:
            self.member.tell(answer=self.number, error=str(error), kind=kind_of(error))


@dataclass(eq=False)
class Turn:
    """Changes that one generation makes together, in the order of the requests.

    Attributes:
        changes: changes that are still possible.
        refused: releases that turned out to be unusable on the way, and why. The rest is loaded
            without them, and callers that requested them are told at the end.
    """

    changes: list[Change]
    refused: dict[Key, str] = field(default_factory=dict)

    @property
    def is_a_poll(self) -> bool:
        """Whether no caller has requested anything: the supervisor checks for new releases."""
        return all(each.what == "poll" for each in self.changes)

    @property
    def has_silent(self) -> bool:
        """Whether nobody is told the outcome of one of the changes."""
        return any(each.is_silent for each in self.changes)

    def names(self, key: Key) -> bool:
        """Return whether a change names a release by version, by its table, or among all."""
        return any(each.names(key) for each in self.changes)

    def drop(self, change: Change, why: ServerError) -> None:
        """Remove a change that is impossible, whatever happens to the others."""
        self.changes.remove(change)
        change.failed(why)

    def go_on_without(self, culprit: Key, why: str, as_before: str) -> None:
        """Go on without a release that cannot be loaded; tell the callers that requested only it.

        Args:
            culprit: the release.
            why: why it cannot be loaded.
            as_before: what happened to everything else that is served.
        """
        self.refused[culprit] = why
        for each in [each for each in self.changes if each.is_for_alone(culprit)]:
            self.drop(each, NotAllowed(f"{why}; {as_before}"))

    def ended(self, told: Mapping[str, Any], rest: str) -> None:
        """Report success, as far as the changes were made.

        Args:
            told: the state afterwards.
            rest: what happened to everything that was not refused.
        """
        for each in self.changes:
            if reasons := [why for key, why in self.refused.items() if each.names(key)]:
                each.failed(NotAllowed("; ".join((*reasons, rest))))
            else:
                each.done(told)

    def failed(self, error: ServerError) -> None:
        """Report an error for all changes to the waiting workers."""
        for each in self.changes:
            each.failed(error)


def kind_of(error: Exception) -> str:
    """Return the error's class name, as in `control.ERRORS`."""
    names = (each.__name__ for each in type(error).__mro__)
    return next((name for name in names if name in ERRORS), "")
