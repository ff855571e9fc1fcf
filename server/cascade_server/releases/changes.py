"""What is asked of the releases, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cascade_server.errors import ServerError
from cascade_server.supervision.control import ERRORS
from cascade_server.supervision.crews import Member


@dataclass(frozen=True, eq=False)
class Asked:
    """Something that was asked for: by a worker's caller, or by nobody in particular."""

    what: str
    given: Mapping[str, Any] = field(default_factory=dict)
    member: Member | None = None
    number: int = 0

    @property
    def release(self) -> tuple[str, int]:
        """The one that was named."""
        return self.given.get("table", ""), self.given.get("version", 0)

    def done(self, told: Mapping[str, Any]) -> None:
        """It is."""
        if self.member is not None:
            self.member.tell(answer=self.number, done=told)

    def failed(self, error: ServerError) -> None:
        """It cannot be."""
        if self.member is not None:
            self.member.tell(answer=self.number, error=str(error), kind=kind_of(error))


def kind_of(error: Exception) -> str:
    """The error's class, as `control.ERRORS` knows it."""
    names = (each.__name__ for each in type(error).__mro__)
    return next((name for name in names if name in ERRORS), "")
