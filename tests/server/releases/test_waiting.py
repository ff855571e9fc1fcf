"""Changes that are asked for while another one is made."""

from __future__ import annotations

import math

import pytest
from cascade_server.releases.changes import Change, Turn
from cascade_server.releases.states import State
from cascade_server.releases.waiting import RETURN_SECONDS

from tests.server.releases.directed import Directed, Repository, begun

ONE = {1: "one"}


@pytest.fixture
def directed() -> Directed:
    """A server of two tables, one of whose callers has had a change begun."""
    found = begun(Repository(credit=ONE, adult={1: "first", 2: "second"}))
    found.ask("load", table="", version=0)
    found.look()
    return found


def told_to_return(directed: Directed, number: int) -> bool:
    said = directed.answer_to(number)
    return said.get("kind") == "NotReady" and "ask again" in said["error"]


def test_what_waits_is_made_by_one_generation(directed: Directed) -> None:
    before = directed.newest
    waiting = [directed.ask("load", table="credit", version=0) for _ in range(3)]
    waiting.append(directed.ask("unload", table="adult", version=1))
    directed.director.hung_up()
    directed.director.hung_up()
    directed.take_over(before)
    assert all(told_to_return(directed, each) for each in waiting)
    # Until all have come back nothing is begun, and then all of it.
    again = [directed.ask("load", table="credit", version=0) for _ in range(3)]
    assert directed.look() == RETURN_SECONDS
    assert directed.newest is before
    again.append(directed.ask("unload", table="adult", version=1))
    directed.look()
    assert directed.newest.name == "generation 3 (adult 2; credit 1)"
    directed.take_over(directed.newest)
    assert [directed.answer_to(each)["done"]["generation"] for each in again] == [3] * 4
    assert directed.look() == math.inf


def test_what_nobody_comes_back_for_is_not_made(directed: Directed) -> None:
    directed.ask("unload", table="adult", version=1)
    directed.take_over(directed.newest)
    directed.now = RETURN_SECONDS - 0.1
    assert directed.look() == RETURN_SECONDS
    directed.now = RETURN_SECONDS
    assert directed.look() == math.inf
    assert directed.newest.name.startswith("generation 2")


def test_a_hang_up_is_not_given_back(directed: Directed) -> None:
    directed.director.hung_up()
    directed.take_over(directed.newest)
    directed.look()
    assert directed.newest.name.startswith("generation 3")


def test_who_leaves_is_told_so_even_if_it_asks_late(directed: Directed) -> None:
    before = directed.swap(directed.newest)
    assert told_to_return(directed, directed.ask("load", before, table="credit", version=0))
    directed.gone(before)
    assert directed.look() == RETURN_SECONDS


def test_who_has_taken_calls_already_and_stays_is_not(directed: Directed) -> None:
    """The next one takes connections before the one before is told to leave."""
    after = directed.newest
    directed.ready(after)
    assert directed.director.state is State.ACCEPTING
    number = directed.ask("load", after, table="credit", version=0)
    before = directed.end_swap(after)
    directed.gone(before)
    assert directed.answered(number) is None
    directed.look()
    directed.take_over(directed.newest)
    assert directed.answer_to(number)["done"]["generation"] == 3


def test_in_the_order_in_which_it_was_asked_for(directed: Directed) -> None:
    directed.take_over(directed.newest)
    for what in ("unload", "load", "unload", "load"):
        directed.ask(what, table="adult", version=1)
    directed.look()
    assert directed.newest.name.startswith("generation 3 (adult 1, 2; credit 1)")


def test_two_do_not_unload_all_that_there_is(directed: Directed) -> None:
    directed.take_over(directed.newest)
    first = directed.ask("unload", table="adult", version=0)
    other = directed.ask("unload", table="credit", version=0)
    wrong = directed.ask("load", table="nothing", version=0)
    directed.look()
    assert "all that this server serves" in directed.answer_to(other)["error"]
    assert directed.answer_to(wrong)["kind"] == "UnknownTable"
    directed.take_over(directed.newest)
    assert "done" in directed.answer_to(first)
    assert directed.versions() == {"credit": [1]}


def test_what_cannot_be_loaded_stops_those_alone_who_asked_for_it(directed: Directed) -> None:
    directed.take_over(directed.newest)
    directed.source.tables["credit"] = {1: "one", 2: "two"}
    damaged = directed.ask("load", table="credit", version=2)
    other = directed.ask("unload", table="adult", version=1)
    directed.look()
    directed.fails(directed.newest, "credit version 2 is damaged", ("credit", 2))
    assert "credit version 2 is damaged" in directed.answer_to(damaged)["error"]
    directed.look()
    assert directed.newest.name.endswith("(adult 2; credit 1)")
    directed.take_over(directed.newest)
    assert "done" in directed.answer_to(other)


def test_who_waits_no_more_wants_nothing(directed: Directed) -> None:
    after = directed.newest
    number = directed.ask("unload", table="adult", version=1)
    current = directed.director.current
    assert current is not None
    assert current.crew is not None
    directed.director.said(current.crew.members[0], {"withdrawn": number})
    directed.take_over(after)
    assert directed.look() == math.inf
    assert directed.answered(number) is None


def test_a_look_at_a_url_hurries_nobody_and_keeps_nobody_from_hurrying() -> None:
    directed = begun(Repository(is_remote=True, credit=ONE), poll_seconds=10.0)
    directed.ready(directed.newest)
    directed.ask("load", table="", version=0)
    directed.look()
    directed.ready(directed.newest)  # fetched
    before = directed.swap(directed.newest)
    directed.crews.dismissed.clear()
    directed.now = 60.0
    directed.look()
    assert directed.crews.dismissed == []  # of the poll that is due
    directed.ask("load", table="credit", version=0)
    directed.look()
    assert directed.crews.dismissed == [(before, 7.0, 0.0)]


def test_who_does_not_end_in_time_is_waited_for_without_a_look(directed: Directed) -> None:
    before = directed.swap(directed.newest)
    directed.ask("load", table="credit", version=0)
    before.until = 5.0
    assert directed.look() == 5.0
    directed.now = 6.0
    assert directed.look() == math.inf


def test_what_needs_nothing_loaded_holds_though_a_neighbour_was_refused(directed: Directed) -> None:
    directed.take_over(directed.newest)
    directed.source.tables["credit"] = {1: "one", 2: "two"}
    directed.ask("load", table="credit", version=2)
    kept = directed.ask("load", table="adult", version=1)
    directed.look()
    directed.fails(directed.newest, "credit version 2 is damaged", ("credit", 2))
    directed.look()
    assert "done" in directed.answer_to(kept)
    assert directed.director.catalogue.desired.state_of("adult").also == {1}


@pytest.mark.parametrize("is_remote", [False, True])
def test_each_is_told_why_its_own_cannot_be(is_remote: bool) -> None:
    directed = begun(Repository(is_remote, credit=ONE))
    if is_remote:
        directed.ready(directed.newest)
    last = directed.ask("unload", table="credit", version=0)
    wrong = directed.ask("load", table="nothing", version=0)
    directed.look()
    if is_remote:
        turn, current = Turn([Change("load", {"table": "nothing"})]), directed.director.current
        fetched = directed.director.catalogue.to_fetch(turn, current)(directed.source.look())
        assert {table: list(each) for table, each in fetched.items()} == {"credit": [1]}
        directed.ready(directed.newest)
    assert directed.answer_to(last)["kind"] == "NotAllowed"
    assert directed.answer_to(wrong)["kind"] == "UnknownTable"
    assert directed.director.state is not State.LOADING


def test_what_is_gone_from_the_repository_is_unloaded_in_any_place(directed: Directed) -> None:
    directed.take_over(directed.newest)
    directed.source.tables["adult"] = {2: "second"}
    directed.ask("load", table="credit", version=0)
    gone = directed.ask("unload", table="adult", version=1)
    directed.look()
    directed.take_over(directed.newest)
    assert "done" in directed.answer_to(gone)
    assert directed.director.catalogue.desired.state_of("adult").without == {1}


def test_two_who_unload_the_same_are_both_told_that_it_is(directed: Directed) -> None:
    directed.take_over(directed.newest)
    both = [directed.ask("unload", table="adult", version=1) for _ in range(2)]
    directed.look()
    directed.take_over(directed.newest)
    assert all("done" in directed.answer_to(each) for each in both)


def test_a_process_that_dies_wants_nothing_any_more(directed: Directed) -> None:
    after = directed.newest
    directed.take_over(after)
    directed.ask("load", table="credit", version=0)
    directed.look()
    directed.ask("unload", table="adult", version=1)
    after.members[0].pid = 77  # started again
    directed.take_over(directed.newest)
    assert directed.look() == math.inf


def test_a_look_at_a_url_does_not_try_again_what_could_not_be_loaded() -> None:
    directed = begun(Repository(is_remote=True, credit=ONE), poll_seconds=10.0, load_seconds=5.0)
    directed.ready(directed.newest)
    directed.source.tables["credit"] = {1: "one", 2: "two"}
    for now in (10.0, 20.0, 30.0):
        directed.now = now
        directed.look()
        directed.ready(directed.newest)  # fetched
        if "generation" in directed.newest.name and directed.newest.name.endswith("1, 2)"):
            directed.now = now + 5.0
            directed.look()
            directed.gone(directed.newest)
    names = [crew.name for crew in directed.crews.started]
    assert names.count("generation 2 (credit 1, 2)") == 1
