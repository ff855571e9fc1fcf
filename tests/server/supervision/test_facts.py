"""What the supervisor tells of processes and releases, for who shows them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cascade_server.supervision.crews import Begin, Crew, Member, Phase, Role
from cascade_server.supervision.facts import (
    ProcessFacts,
    ProcessState,
    facts_of,
    packed,
    state_of,
    unpacked,
)


def member(phase: Phase = Phase.SERVING, once: bool = False, **more: Any) -> Member:
    crew = Crew("generation 1", Begin.FIRST, phase=phase)
    found = Member(Role("worker 0", lambda *_: None, once=once), crew, **more)
    crew.members.append(found)
    return found


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (member(pid=7, ready=True), ProcessState.UP),
        (member(pid=7), ProcessState.STARTING),
        (member(pid=7, deaths=1), ProcessState.AWAY),
        (member(deaths=1), ProcessState.AWAY),
        (member(resting=True), ProcessState.RESTING),
        (member(Phase.LEAVING, pid=7, ready=True), ProcessState.LEAVING),
    ],
)
def test_how_far_a_process_is(found: Member, state: ProcessState) -> None:
    assert state_of(found) is state


def test_how_it_died_and_what_it_said_last() -> None:
    found = member(deaths=2, ended=40.0, how="ended with status 1", error="no memory")
    [facts] = facts_of([found.crew])
    assert (facts.deaths, facts.died) == (2, 40.0)
    assert facts.how == "ended with status 1: no memory"


def test_who_only_fetches_is_no_process_of_the_server() -> None:
    assert facts_of([member(once=True).crew]) == ()


class TestTelling:
    """As bytes, in a room of one size."""

    RELEASES = (
        *({"version": number, "state": "available"} for number in range(50)),
        *({"version": number, "state": "refused"} for number in range(50, 55)),
        {"version": 60, "state": "loaded"},
    )
    LISTING = {"releases": list(RELEASES), "generation": 4}  # noqa: RUF012
    PROCESSES = (ProcessFacts("worker 0", ProcessState.UP, 7, 1.0),)

    def test_what_is_told_is_heard(self) -> None:
        processes, releases = unpacked(packed(self.PROCESSES, self.LISTING, 2**20))
        assert processes == self.PROCESSES
        assert releases == {**self.LISTING, "left_out": 0}

    def test_nothing_was_told(self) -> None:
        assert unpacked(b"") == ((), {})

    @pytest.mark.parametrize("room", [1000, 600, 300])
    def test_where_not_all_fits_those_who_answer_stay(self, room: int) -> None:
        content = packed(self.PROCESSES, self.LISTING, room)
        assert len(content) <= room
        processes, releases = unpacked(content)
        assert processes == self.PROCESSES
        assert {"version": 60, "state": "loaded"} in releases["releases"]
        assert releases["left_out"] == len(self.RELEASES) - len(releases["releases"]) > 0

    def test_where_nothing_fits_it_is_still_json(self) -> None:
        assert json.loads(packed(self.PROCESSES, self.LISTING, 10)) == {}
