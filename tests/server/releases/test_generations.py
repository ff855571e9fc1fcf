"""The director: what it asks of the supervisor, and what whoever asked is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cascade_server.errors import ServerError, UnknownTable
from cascade_server.releases.states import State
from cascade_server.releases.succession import LONGEST_STAY
from cascade_server.supervision.crews import Begin
from cascade_tables import ReleaseError

from tests.server.releases.directed import Directed, Repository, begun

ONE = {1: "one"}


class TestTheFirst:
    """Nobody answers before it does."""

    def test_it_serves_once_it_is_ready(self) -> None:
        directed = Directed(Repository(credit=ONE))
        directed.director.begin()
        (crew,) = directed.crews.started
        assert (crew.begin, crew.name) == (Begin.FIRST, "generation 1 (credit 1)")
        assert (directed.director.state, directed.served) == (State.LOADING_FIRST, 0)
        directed.ready(crew)
        assert (directed.director.state, directed.served) == (State.SERVING, 1)

    def test_one_that_cannot_be_ends_the_server(self) -> None:
        directed = Directed(Repository(credit=ONE))
        directed.director.begin()
        with pytest.raises(ServerError, match="credit version 1 is damaged"):
            directed.director.failed(directed.newest, "credit version 1 is damaged")
        assert directed.director.state is State.ENDED

    def test_without_a_release_there_is_none(self) -> None:
        with pytest.raises(ReleaseError, match="the repository holds no release; `cascade rel"):
            Directed(Repository()).director.begin()

    def test_what_is_behind_a_url_is_fetched_before(self) -> None:
        directed = Directed(Repository(is_remote=True, credit=ONE))
        directed.director.begin()
        assert directed.newest.name == "fetching the repository"
        assert directed.director.state is State.FETCHING_FIRST
        directed.ready(directed.newest)
        assert directed.newest.name == "generation 1 (credit 1)"
        directed.ready(directed.newest)
        assert directed.director.state is State.SERVING


class TestTheNext:
    """It takes connections before the one before takes no more."""

    def test_the_order(self) -> None:
        source = Repository(credit=ONE)
        directed = begun(source)
        before = directed.newest
        source.tables["credit"] = {1: "one", 2: "two"}
        number = directed.ask("load", table="credit", version=0)
        directed.look()
        after = directed.newest
        assert (after.begin, after.name) == (Begin.NEXT, "generation 2 (credit 1, 2)")
        assert directed.director.state is State.LOADING
        assert (directed.told(before), directed.told(after)) == ([], [])
        directed.ready(after)
        assert directed.director.state is State.ACCEPTING
        assert (directed.told(before), directed.told(after)) == ([], ["accept"])
        directed.look()
        assert directed.told(before) == []  # not before all of them accept
        directed.answer(after, "accepting")
        directed.look()
        assert directed.director.state is State.RETIRING
        assert directed.told(before) == ["retire"]
        assert directed.crews.dismissed == [(before, 7.0, LONGEST_STAY)]
        assert directed.answered(number) is None
        directed.answer(before, "retired")
        directed.look()
        assert directed.director.state is State.LEAVING
        assert directed.told(before) == ["retire", "leave"]
        told = directed.answered(number)
        assert told is not None
        assert told["done"]["generation"] == 2
        directed.gone(before)
        assert directed.director.state is State.SERVING

    def test_a_member_that_dies_meanwhile_is_not_waited_for(self) -> None:
        directed = begun(Repository(credit=ONE))
        directed.ask("load", table="", version=0)
        directed.look()
        after = directed.newest
        directed.ready(after)
        after.members[0].pid = 0
        directed.director.said(after.members[1], {"accepting": True})
        directed.look()
        assert directed.director.state is State.RETIRING

    def test_when_the_one_before_has_died_already_nobody_waits_for_it(self) -> None:
        directed = begun(Repository(credit=ONE))
        before = directed.newest
        directed.ask("load", table="", version=0)
        directed.look()
        after = directed.newest
        directed.ready(after)
        directed.answer(after, "accepting")
        directed.look()
        directed.gone(before)
        assert directed.director.state is State.SERVING
        # And the next change is made as any other.
        directed.ask("load", table="", version=0)
        directed.look()
        assert directed.newest.name.startswith("generation 3")

    def test_a_third_hurries_the_first(self) -> None:
        directed = begun(Repository(credit=ONE))
        before = directed.newest
        directed.ask("load", table="", version=0)
        directed.look()
        after = directed.newest
        directed.ready(after)
        directed.answer(after, "accepting")
        directed.look()
        directed.answer(before, "retired")
        directed.look()
        directed.crews.dismissed.clear()
        directed.director.hung_up()
        directed.look()
        assert directed.crews.dismissed == [(before, 7.0, 0.0)]
        directed.gone(before)
        directed.look()
        assert directed.newest.name.startswith("generation 3")

    def test_one_that_is_not_ready_in_time_is_given_up(self) -> None:
        directed = begun(Repository(credit=ONE), load_seconds=60.0)
        number = directed.ask("load", table="", version=0)
        directed.look()
        after = directed.newest
        directed.now = 59.0
        assert directed.look() == 60.0
        directed.now = 60.0
        directed.look()
        told = directed.answered(number)
        assert told is not None
        assert told["error"] == (
            "it was not ready within 60 s; what was served goes on being served"
        )
        assert directed.director.state is State.LEAVING
        directed.gone(after)
        assert directed.director.state is State.SERVING


class TestWhatIsRefused:
    """What was served goes on being served, and who asked is told."""

    WHY = "model.onnx is damaged"

    @pytest.mark.parametrize(
        "given", [{"table": "", "version": 0}, {"table": "credit", "version": 0}]
    )
    def test_nothing_is_loaded_without_a_release_that_is_served(
        self, given: dict[str, object]
    ) -> None:
        source = Repository(credit=ONE, adult=ONE)
        directed = begun(source)
        source.tables["credit"] = {1: "one", 2: "two"}
        number = directed.ask("load", **given)
        directed.look()
        directed.fails(directed.newest, self.WHY, ("credit", 1))
        told = directed.answered(number)
        assert told is not None
        assert told["error"] == f"{self.WHY}; what was served goes on being served"
        directed.look()
        assert len(directed.crews.started) == 2
        assert directed.versions() == {"credit": [1], "adult": [1]}
        # Who asks again is answered anew, by what is found then.
        directed.ask("load", table="credit", version=0)
        directed.look()
        assert directed.newest.name == "generation 2 (adult 1; credit 1, 2)"

    def test_what_else_there_is_is_loaded_and_who_asked_is_told_of_both(self) -> None:
        source = Repository(credit=ONE)
        directed = begun(source)
        source.tables["credit"] = {1: "one", 2: "two", 3: "three"}
        number = directed.ask("load", table="credit", version=0)
        directed.look()
        directed.fails(directed.newest, self.WHY, ("credit", 2))
        assert directed.answered(number) is None
        directed.look()
        assert directed.newest.name == "generation 2 (credit 1, 3)"
        directed.take_over(directed.newest)
        told = directed.answered(number)
        assert told is not None
        assert told["error"] == f"{self.WHY}; all else is loaded and answers"
        assert directed.versions() == {"credit": [1, 3]}

    def test_with_nothing_else_to_load_nothing_is(self) -> None:
        source = Repository(credit=ONE)
        directed = begun(source)
        source.tables["credit"] = {1: "one", 2: "two"}
        number = directed.ask("load", table="", version=0)
        directed.look()
        directed.fails(directed.newest, self.WHY, ("credit", 2))
        directed.look()
        assert len(directed.crews.started) == 2
        told = directed.answered(number)
        assert told is not None
        assert told["error"] == f"{self.WHY}; what was served goes on being served"

    def test_one_that_was_asked_for_alone_is_not_gone_without(self) -> None:
        source = Repository(credit=ONE)
        directed = begun(source)
        source.tables["credit"] = {1: "one", 2: "two", 3: "three"}
        number = directed.ask("load", table="credit", version=2)
        directed.look()
        directed.fails(directed.newest, self.WHY, ("credit", 2))
        directed.look()
        assert len(directed.crews.started) == 2
        told = directed.answered(number)
        assert told is not None
        assert told["error"].startswith(self.WHY)

    def test_another_tables_trouble_is_not_told_to_who_asked_for_this_one(self) -> None:
        source = Repository(credit=ONE)
        directed = begun(source)
        source.tables |= {"credit": {1: "one", 2: "two"}, "adult": ONE}
        number = directed.ask("load", table="adult", version=0)
        directed.look()
        directed.fails(directed.newest, self.WHY, ("credit", 2))
        directed.look()
        directed.take_over(directed.newest)
        told = directed.answered(number)
        assert told is not None
        assert "done" in told

    def test_what_is_looked_for_now_and_then_is_tried_once(self) -> None:
        source = Repository(credit=ONE)
        directed = begun(source, poll_seconds=1.0)
        source.tables["credit"] = {1: "one", 2: "two"}
        directed.look()
        directed.look()
        # The new one fails; then, beside one that is new again, the one that is served.
        directed.fails(directed.newest, self.WHY, ("credit", 2))
        for _ in range(5):
            directed.now += 1
            directed.look()
        assert len(directed.crews.started) == 2
        source.tables["credit"] |= {3: "three"}
        directed.now += 1
        directed.look()
        directed.look()
        assert directed.newest.name == "generation 2 (credit 1, 3)"
        directed.fails(directed.newest, self.WHY, ("credit", 1))
        for _ in range(5):
            directed.now += 1
            directed.look()
        assert len(directed.crews.started) == 3

    def test_what_cannot_be_fetched(self) -> None:
        source = Repository(is_remote=True, credit=ONE)
        directed = Directed(source)
        directed.director.begin()
        directed.ready(directed.newest)
        directed.ready(directed.newest)
        number = directed.ask("load", table="", version=0)
        directed.look()
        assert directed.director.state is State.FETCHING
        directed.fails(directed.newest, "the bucket is gone")
        told = directed.answered(number)
        assert told is not None
        assert told["error"] == "the bucket is gone; what was served goes on being served"
        assert directed.director.state is State.SERVING


class TestWhoCannotStart:
    """Workers that cannot be started again."""

    def test_the_server_gives_up(self) -> None:
        directed = begun(Repository(credit=ONE))
        with pytest.raises(ServerError, match="no worker can start"):
            directed.director.hopeless(directed.newest, "no worker can start")

    def test_not_while_others_are_on_their_way(self) -> None:
        directed = begun(Repository(credit=ONE))
        before = directed.newest
        directed.ask("load", table="", version=0)
        directed.look()
        directed.director.hopeless(before, "no worker can start")
        directed.fails(directed.newest, "nor can these")
        with pytest.raises(ServerError, match="no worker can start"):
            directed.director.hopeless(before, "no worker can start")


class TestWhatIsAskedFor:
    """Changes for which nothing is loaded, and what is kept of all."""

    def test_who_answers_changes_at_once(self) -> None:
        directed = begun(Repository(credit={1: "one", 2: "two"}))
        number = directed.ask("promote", table="credit", version=1)
        told = directed.answered(number)
        assert told is not None
        shares = {each["version"]: each["share"] for each in told["done"]["releases"]}
        assert shares == {1: 1.0, 2: 0.0}
        assert len(directed.crews.started) == 1

    def test_what_cannot_be_is_told_as_what_it_is(self) -> None:
        directed = begun(Repository(credit=ONE))
        number = directed.ask("promote", table="debit", version=1)
        told = directed.answered(number)
        assert told is not None
        assert told["kind"] == UnknownTable.__name__
        number = directed.ask("load", table="debit", version=0)
        directed.look()
        told = directed.answered(number)
        assert told is not None
        assert "unknown table 'debit'" in told["error"]
        assert directed.director.state is State.SERVING

    def test_it_is_kept_over_a_restart(self, tmp_path: Path) -> None:
        source = Repository(credit={1: "one", 2: "two"})
        directed = Directed(source, tmp_path)
        directed.director.begin()
        directed.ready(directed.newest)
        directed.ask("promote", table="credit", version=1)
        kept = json.loads((tmp_path / "releases.json").read_text())
        assert kept["tables"]["credit"]["stable"] == 1
        again = Directed(source, tmp_path)
        again.director.begin()
        again.ready(again.newest)
        listed = again.director.listing()["releases"]
        assert [each["share"] for each in listed] == [1.0, 0.0]
