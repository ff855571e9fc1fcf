"""A process that fetches releases to this machine, and its messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cascade_tables import CascadeTablesError

from cascade_server.errors import NotAllowed, ReleaseRefused, ServerError
from cascade_server.releases.changes import kind_of
from cascade_server.releases.found import Found, Key, Source, Wanted
from cascade_server.supervision.control import ERRORS
from cascade_server.supervision.crews import Begin, Crew, Post


@dataclass(eq=False)
class Fetching:
    """Such a process, as the supervisor sees it.

    Attributes:
        crew: its crew.
        culprit: a release that does not match its manifest.
        error: the kind of error.
    """

    crew: Crew
    culprit: Key | None = None
    error: type[ServerError] = NotAllowed

    def said(self, what: dict[str, Any], source: Source) -> None:
        """Handle a message of the process."""
        if "found" in what:
            source.knows(Found.of_list(what["found"]))
        if "culprit" in what:
            self.culprit = (what["culprit"][0], int(what["culprit"][1]))
        if "kind" in what:
            self.error = ERRORS.get(what["kind"], NotAllowed)


def fetch(source: Source, wanted: Callable[[Found], Wanted], post: Post, _begin: Begin) -> None:
    """Run the process that fetches releases: fetch what is wanted, and report the outcome."""
    seen = Found({}, {})

    def chosen(found: Found) -> Wanted:
        nonlocal seen
        seen = found
        return wanted(found)

    try:
        found = source.fetch(chosen)
    except (ServerError, CascadeTablesError) as exc:
        said: dict[str, Any] = {"error": str(exc), "kind": kind_of(exc), "found": seen.to_list()}
        if isinstance(exc, ReleaseRefused):
            said["culprit"] = [exc.table, exc.version]
        if not seen.releases:
            del said["found"]
        post.tell(**said)
        raise SystemExit(1) from exc
    post.tell(found=found.to_list(), ready=True)
