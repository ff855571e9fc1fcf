"""The state of the releases, for callers and for the operations page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from cascade_server.counts.shared.books import TOLD, Books
from cascade_server.memory import Note
from cascade_server.releases.found import Found, Key
from cascade_server.releases.generation import Generation
from cascade_server.releases.policy import Desired
from cascade_server.supervision.crews import Crew
from cascade_server.supervision.facts import facts_of, packed


def listed(
    found: Found,
    current: Generation,
    starting: Generation | None,
    desired: Desired,
    refused: Mapping[Key, tuple[str, str]],
    trials: Mapping[str, str],
) -> list[dict[str, Any]]:
    """List all releases, as `ReleaseStatus`.

    Args:
        found: the content of the repository when it was last read.
        current, starting: the generation that answers, and the one being loaded.
        desired: the role of each version.
        refused: digests and reasons of releases that could not be loaded.
        trials: state of the trials, by table.
    """
    loaded = current.digests
    loading = {} if starting is None else starting.digests
    out = []
    for table, version in sorted({*found.releases, *loaded, *loading}):
        key = (table, version)
        seen = found.releases.get(key)
        digest, why = refused.get(key, ("", ""))
        state = "available"
        if key in loaded:
            state, digest = "loaded" if seen is not None else "missing", loaded[key]
        elif key in loading:
            state, digest = "loading", loading[key]
        elif why and seen is not None and seen.digest == digest:
            state = "refused"
        wanted = desired.state_of(table)
        shares = current.books.live_versions.shares(table) if key in loaded else {}
        on_trial = version == wanted.canary
        out.append(
            {
                "table": table,
                "version": version,
                "state": state,
                "share": shares.get(version, 0.0),
                "canary": on_trial,
                "previous": version == wanted.previous and key in loaded,
                "digest": digest or (seen.digest if seen is not None else ""),
                "created": seen.created if seen is not None else "",
                "reason": trials.get(table, "") if on_trial else why,
            }
        )
    return out


class Knows(Protocol):
    """Knows the releases: `Generations`."""

    current: Generation | None

    def listing(self) -> dict[str, Any]:
        """Return all releases and their states, as the answer to `Control.ask("list")`."""


class Told:
    """Writes the state of processes and releases into the books for the operations page.

    Args:
        director: returns what knows the releases; called once there is something to write.
    """

    def __init__(self, director: Callable[[], Knows]) -> None:
        self._director = director
        self._last: tuple[Books, bytes] | None = None

    def __call__(self, crews: Sequence[Crew]) -> None:
        """Write the current state."""
        director = self._director()
        if director.current is None:
            return
        books = director.current.books
        found = packed(facts_of(crews), director.listing(), TOLD - Note.HEAD.size)
        if self._last is None or self._last[0] is not books or self._last[1] != found:
            books.told.write(found)
            self._last = books, found
