"""Writes down what the supervisor knows where others of the server look, when it changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from cascade_server.counts.shared.books import TOLD, Books
from cascade_server.memory import Note
from cascade_server.releases.generation import Generation
from cascade_server.supervision.crews import Crew
from cascade_server.supervision.facts import facts_of, packed


class Knows(Protocol):
    """Who knows of the releases: `Generations`."""

    current: Generation | None

    def listing(self) -> dict[str, Any]:
        """How they are."""


class Told:
    """How processes and releases are, for the operations page: in the books that it looks at.

    Args:
        director: knows of the releases; asked once there is something to tell.
    """

    def __init__(self, director: Callable[[], Knows]) -> None:
        self._director = director
        self._last: tuple[Books, bytes] | None = None

    def __call__(self, crews: Sequence[Crew]) -> None:
        """Write down how all are now."""
        director = self._director()
        if director.current is None:
            return
        books = director.current.books
        found = packed(facts_of(crews), director.listing(), TOLD - Note.HEAD.size)
        if self._last is None or self._last[0] is not books or self._last[1] != found:
            books.told.write(found)
            self._last = books, found
