"""When a child that has ended is started again, and when that is given up."""

from __future__ import annotations

import pytest
from cascade_server.supervision.crews import Begin, Crew, Member, RestartConfig, Restarts, Role

CONFIG = RestartConfig()


def pauses(*lived: float) -> list[float]:
    """Before each next start, of processes that lived so many seconds."""
    restarts, found = Restarts(), []
    for seconds in lived:
        restarts, pause = restarts.ended(CONFIG, seconds, was_ready=True)
        found.append(pause)
    return found


def test_the_first_is_at_once_and_the_rests_grow_to_a_limit() -> None:
    found = pauses(*[0.2] * 12)
    assert found[:5] == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8])
    assert found[-1] == CONFIG.longest_pause


def test_one_that_has_worked_is_started_at_once() -> None:
    assert pauses(0.2, 0.2, 0.2, CONFIG.healthy, 0.2) == pytest.approx([0.0, 0.1, 0.2, 0.0, 0.1])


def test_many_failures_do_not_overflow() -> None:
    assert Restarts(10_000).ended(CONFIG, 0.0, was_ready=False)[1] == CONFIG.longest_pause


def crew_after(*ends: tuple[str, bool]) -> Crew:
    """A crew of two workers and a teacher, after ends of processes: whose, and whether ready."""
    crew = Crew("generation 1", Begin.FIRST)
    roles = [Role(name, lambda *_: None, last=name == "teacher") for name in ("a", "b", "teacher")]
    crew.members = [Member(role, crew) for role in roles]
    for name, was_ready in ends:
        member = next(each for each in crew.members if each.role.name == name)
        member.restarts, _ = member.restarts.ended(CONFIG, 1.0, was_ready)
    return crew


UNREADY = [("a", False), ("b", False)] * CONFIG.most_starts


@pytest.mark.parametrize(
    ("ends", "hopeless"),
    [
        ([], False),
        (UNREADY, True),
        # Of the teacher alone the server does not depend.
        ([("teacher", False)] * 100, False),
        ([("a", False)] * 100, False),
        (UNREADY[:-1], False),
        # Who dies at its work can begin: it is started again for as long as it takes.
        ([("a", True), ("b", True)] * 100, False),
        ([*UNREADY[:-1], ("b", True)], False),
        ([*UNREADY, ("b", True)], False),
    ],
)
def test_it_is_given_up_when_nobody_who_answers_can_begin(
    ends: list[tuple[str, bool]], hopeless: bool
) -> None:
    assert crew_after(*ends).hopeless(CONFIG) is hopeless
