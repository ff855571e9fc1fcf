"""What the generation that is to follow has of the one before it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from cascade_server.config import ServerConfig
from cascade_server.releases.changes import Change, Turn
from cascade_server.releases.found import Found, Key
from cascade_server.releases.generation import Generation, ReleaseConfig
from cascade_server.releases.next_generation import Planner
from cascade_server.releases.policy import Desired
from cascade_server.releases.states import State

from tests.server.releases.directed import Repository, begun


class Full(Repository):
    """On a machine that can open no more files, for as long as a test says so."""

    is_full = False

    def look(self) -> Found:
        if self.is_full:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().look()


SOURCE = Repository(credit={1: "one", 2: "two"}, adult={1: "one"})


def planned(
    before: Generation | None = None,
    desired: Desired | None = None,
    source: Repository = SOURCE,
    bad: frozenset[Key] = frozenset(),
    workers: int = 1,
    **settings: Any,
) -> Generation:
    config = ServerConfig(
        repository=Path("nowhere"), port=1, teacher_socket=Path("/run/teacher"), **settings
    )
    planner = Planner(config, ReleaseConfig(), workers, clock=lambda: 42.0)
    return planner.plan(desired or Desired(), Turn([Change("load")]), source.look(), bad, before)


def test_the_first() -> None:
    first = planned()
    assert first.versions == {"credit": (1, 2), "adult": (1,)}
    assert first.digests == {("adult", 1): "one", ("credit", 1): "one", ("credit", 2): "two"}
    assert (first.number, first.first, first.began) == (1, True, 42.0)
    assert str(first) == "adult 1; credit 1, 2"


def test_it_goes_without_what_is_bad() -> None:
    assert planned(bad=frozenset({("credit", 2), ("adult", 1)})).versions == {"credit": (1,)}


def test_numbers_sockets_and_places_are_its_own() -> None:
    """Two generations count and talk side by side for a while."""
    first = planned()
    second = planned(first)
    third = planned(second)
    assert [each.number for each in (first, second, third)] == [1, 2, 3]
    assert first.slot != second.slot
    assert first.slot == third.slot
    sockets = {each.config.teacher_socket for each in (first, second, third)}
    assert sockets == {Path(f"/run/teacher.{number}.sock") for number in (1, 2, 3)}
    assert not second.first


def test_books_go_on_unless_there_is_a_table_that_they_have_no_place_for() -> None:
    first = planned(source=Repository(credit={1: "one"}))
    second = planned(first, source=Repository(credit={1: "one", 2: "two"}))
    assert second.books is first.books
    third = planned(second)
    assert third.books is not first.books
    assert third.books.tables == {"credit", "adult"}
    # A table that is gone keeps its place: its budget goes on if it comes back.
    fourth = planned(third, source=Repository(adult={1: "one"}))
    assert fourth.books is third.books


@pytest.mark.parametrize(
    ("workers", "transport", "shares"),
    [(1, "http2", False), (2, "http2", True), (2, "grpcio", False)],
)
def test_workers_share_connections_where_there_are_several_and_they_can(
    workers: int, transport: str, shares: bool
) -> None:
    generation = planned(workers=workers, transport=transport)
    assert (generation.board is not None) is shares
    assert len(generation.books.places) == 2 * workers + 1
    if generation.board is not None:
        generation.board.close()


def test_where_there_is_no_room_for_one_all_goes_on_and_whoever_asked_is_told() -> None:
    """A machine may be out of memory, or of open files, for a moment."""
    source = Full(credit={1: "one"})
    directed = begun(source, poll_seconds=10.0)
    source.is_full = True
    number = directed.ask("load", table="credit", version=0)
    directed.look()
    assert "Too many open files" in directed.answer_to(number)["error"]
    directed.now += 60.0
    directed.look()  # nobody has asked for it
    assert directed.director.state is State.SERVING
    source.is_full, source.tables["credit"] = False, {1: "one", 2: "two"}
    directed.now += 60.0
    directed.look()
    directed.look()
    directed.take_over(directed.newest)
    assert directed.versions() == {"credit": [1, 2]}
