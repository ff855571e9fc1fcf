"""A process that brings releases to this machine: what it says, and what is made of that."""

from __future__ import annotations

from typing import Any

import pytest
from cascade_server.errors import NotAllowed, ReleaseRefused, UnknownTable
from cascade_server.releases.fetching import Fetching, fetch
from cascade_server.releases.found import Found
from cascade_server.supervision.crews import Begin, Crew
from cascade_tables import ReleaseError

from tests.server.releases.directed import Repository


class Post:
    """A line on which everything that is told is kept."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def tell(self, **what: Any) -> None:
        self.told.append(what)


class Broken(Repository):
    """Fails at one of the releases, or before it knows of any."""

    def __init__(self, error: Exception, knows_first: bool, **tables: Any) -> None:
        super().__init__(is_remote=True, **tables)
        self._error, self._knows_first = error, knows_first

    def fetch(self, wanted: Any) -> Found:
        if self._knows_first:
            wanted(self.look())
        raise self._error


def test_it_says_what_there_is_and_is_ready() -> None:
    post: Any = Post()
    source = Repository(is_remote=True, credit={1: "one", 3: "three"})
    fetch(source, lambda found: found.versions, post, Begin.NEXT)
    (told,) = post.told
    assert told["ready"] is True
    assert Found.of_list(told["found"]) == source.look()


def test_a_release_that_is_damaged_is_named() -> None:
    post: Any = Post()
    error = ReleaseRefused.of("credit", 3, ReleaseError("model.onnx is damaged"))
    source = Broken(error, True, credit={1: "one", 3: "three"})
    with pytest.raises(SystemExit):
        fetch(source, lambda found: found.versions, post, Begin.NEXT)
    (told,) = post.told
    assert told["error"] == "credit version 3: model.onnx is damaged"
    assert told["culprit"] == ["credit", 3]
    fetching = Fetching(Crew("", Begin.NEXT))
    fetching.said(told, source)
    assert fetching.culprit == ("credit", 3)
    assert fetching.error is NotAllowed


def test_what_cannot_be_reached_leaves_what_was_known() -> None:
    post: Any = Post()
    source = Broken(ReleaseError("there is no such bucket"), False)
    with pytest.raises(SystemExit):
        fetch(source, lambda found: found.versions, post, Begin.FIRST)
    assert post.told == [{"error": "there is no such bucket", "kind": ""}]


def test_what_kind_of_error_it_was_is_kept() -> None:
    post: Any = Post()
    source = Broken(UnknownTable("no version 9"), True, credit={1: "one"})
    with pytest.raises(SystemExit):
        fetch(source, lambda found: found.versions, post, Begin.NEXT)
    fetching = Fetching(Crew("", Begin.NEXT))
    fetching.said(post.told[0], source)
    assert fetching.error is UnknownTable
