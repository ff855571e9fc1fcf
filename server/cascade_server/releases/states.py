"""How one generation follows another: every state, every event, and the actions.

The table is complete: an event that it does not have cannot happen, and is a defect. This module
starts no process and reads no clock; `succession` performs the actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class State(Enum):
    """The state of a server between one generation and the next."""

    NEW = "nothing has been begun"
    FETCHING_FIRST = "the first releases are on their way to this machine; nobody answers"
    LOADING_FIRST = "the first generation loads; nobody answers"
    SERVING = "a generation answers, and nothing else is underway"
    FETCHING = "releases are on their way to this machine, while a generation answers"
    LOADING = "the next generation loads, while one answers"
    ACCEPTING = "the next one begins to take connections, beside the one that answers"
    RETIRING = "the one before stops taking connections; the next one takes them all"
    LEAVING = "a generation answers; another one, before it or that failed, has not ended yet"
    ENDED = "there was nothing to serve"


class Event(Enum):
    """What happens to a generation, as its processes and the clock report it."""

    WANTED = "a change is to be made, with what is on this machine"
    WANTED_FAR = "a change is to be made, with what is behind a URL"
    FETCHED = "what is wanted has come"
    UNCHANGED = "there is nothing to load that is not loaded, or it cannot be"
    READY = "all processes of the generation that loads are ready"
    FAILED = "what is underway cannot be done"
    DONE = "all processes that were told something have done it"
    LEFT = "the processes that were to end are gone"


class Action(Enum):
    """What to do about an event."""

    FETCH = "start a process that fetches"
    LOAD = "start the next generation"
    GIVE_UP = "end the server"
    REFUSE = "say why, to who asked; what was served goes on being served"
    SERVE = "let who of the generation dies be started again, and its versions answer"
    ACCEPT = "tell its processes to take connections"
    RETIRE = "tell those of the one before to take no more"
    LEAVE = "tell those to end once nothing is inside"
    TAKE_OVER = "it is the one that answers; who asked for it is told"
    HURRY = "give what is inside the one that leaves no longer than a drain"


Next = tuple[State, tuple[Action, ...]]

TABLE: Mapping[tuple[State, Event], Next] = {
    (State.NEW, Event.WANTED): (State.LOADING_FIRST, (Action.LOAD,)),
    (State.NEW, Event.WANTED_FAR): (State.FETCHING_FIRST, (Action.FETCH,)),
    (State.FETCHING_FIRST, Event.FETCHED): (State.LOADING_FIRST, (Action.LOAD,)),
    (State.FETCHING_FIRST, Event.FAILED): (State.ENDED, (Action.GIVE_UP,)),
    (State.LOADING_FIRST, Event.FAILED): (State.ENDED, (Action.GIVE_UP,)),
    (State.LOADING_FIRST, Event.READY): (State.SERVING, (Action.SERVE, Action.TAKE_OVER)),
    (State.SERVING, Event.WANTED): (State.LOADING, (Action.LOAD,)),
    (State.SERVING, Event.WANTED_FAR): (State.FETCHING, (Action.FETCH,)),
    (State.FETCHING, Event.FETCHED): (State.LOADING, (Action.LOAD,)),
    (State.FETCHING, Event.FAILED): (State.SERVING, (Action.REFUSE,)),
    (State.LOADING, Event.UNCHANGED): (State.SERVING, ()),
    (State.LOADING, Event.READY): (State.ACCEPTING, (Action.SERVE, Action.ACCEPT)),
    (State.LOADING, Event.FAILED): (State.LEAVING, (Action.REFUSE,)),
    # Only then is it impossible that a connection goes to a worker that is about to leave.
    (State.ACCEPTING, Event.DONE): (State.RETIRING, (Action.RETIRE,)),
    (State.RETIRING, Event.DONE): (State.LEAVING, (Action.LEAVE, Action.TAKE_OVER)),
    # Its processes died before they could be told to leave, so none is waited for.
    (State.RETIRING, Event.LEFT): (State.SERVING, (Action.TAKE_OVER,)),
    (State.LEAVING, Event.LEFT): (State.SERVING, ()),
    (State.LEAVING, Event.WANTED): (State.LEAVING, (Action.HURRY,)),
    # For a URL, it is not known yet whether there is a reason to hurry; the event's source decided.
    (State.LEAVING, Event.WANTED_FAR): (State.LEAVING, (Action.HURRY,)),
}


class Impossible(Exception):
    """An event that is impossible in the current state: a defect of its source."""


def follows(state: State, event: Event) -> Next:
    """Return the state after an event, and the actions in order.

    Raises:
        Impossible: the table does not have the event in that state.
    """
    try:
        return TABLE[state, event]
    except KeyError:
        raise Impossible(
            f"{event.name} while {state.name}: {event.value}, while {state.value}"
        ) from None


def printed() -> str:
    """Return the table as text, one line per row."""
    lines = []
    for (state, event), (then, actions) in TABLE.items():
        doing = ", ".join(action.name for action in actions) or "-"
        lines.append(f"{state.name:15}{event.name:12}{then.name:15}{doing}")
    return "\n".join(lines)
