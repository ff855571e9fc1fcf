"""One generation after another: the table itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from cascade_server.releases.states import TABLE, Action, Event, Impossible, State, follows, printed

ALL = [(state, event) for state in State for event in Event]


def reachable(start: State) -> set[State]:
    found, new = set(), {start}
    while new:
        found |= new
        new = {then for (state, _), (then, _) in TABLE.items() if state in found} - found
    return found


def test_every_state_can_be_reached_and_every_event_and_action_is_used() -> None:
    assert reachable(State.NEW) == set(State)
    assert {event for _, event in TABLE} == set(Event)
    assert {action for _, actions in TABLE.values() for action in actions} == set(Action)


@pytest.mark.parametrize("state", [each for each in State if each is not State.ENDED])
def test_a_server_is_never_stuck(state: State) -> None:
    """From everywhere there is a way back to where the next change can be made."""
    assert State.SERVING in reachable(state)


@pytest.mark.parametrize(("state", "event"), [each for each in ALL if each not in TABLE])
def test_what_cannot_be_is_a_defect_with_both_names(state: State, event: Event) -> None:
    with pytest.raises(Impossible, match=f"^{event.name} while {state.name}: "):
        follows(state, event)


def test_who_answers_is_replaced_only_by_who_takes_connections() -> None:
    """Whatever happens on the way, what was served goes on being served until then."""
    taking = [key for key, (_, actions) in TABLE.items() if Action.TAKE_OVER in actions]
    assert {state for state, _ in taking} == {State.LOADING_FIRST, State.RETIRING}
    for (state, event), (_, actions) in TABLE.items():
        if Action.RETIRE in actions or Action.LEAVE in actions:
            assert event is Event.DONE
            assert state in (State.ACCEPTING, State.RETIRING)


def test_it_can_be_printed_and_the_page_has_it() -> None:
    page = Path(__file__).parents[3] / "docs" / "releases.md"
    assert f"```\n{printed()}\n```" in page.read_text(encoding="utf-8")
    lines = printed().splitlines()
    assert len(lines) == len(TABLE)
    assert lines[0].split() == ["NEW", "WANTED", "LOADING_FIRST", "LOAD"]
    assert ["RETIRING", "DONE", "LEAVING", "LEAVE,", "TAKE_OVER"] in [
        each.split() for each in lines
    ]
