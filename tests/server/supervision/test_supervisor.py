"""Processes that are started, started again, asked to end and killed: with none of them there."""

from __future__ import annotations

import logging
import signal

import pytest
from cascade_server.supervision.crews import Begin, Crew, Phase, Role
from cascade_server.supervision.supervisor import BETWEEN_FORKS, KILL_AFTER

from tests.server.supervision.supervised import (
    CONFIG,
    FAILED,
    GRACE,
    SIGKILLED,
    TEACHER,
    WELL,
    WORKERS,
    Supervised,
    life,
)


@pytest.fixture
def supervised() -> Supervised:
    return Supervised()


RESTING = Role("executor", life, holds_nothing=True, rests=True)


def test_who_hangs_up_is_passed_on_to_all(supervised: Supervised) -> None:
    """SIGHUP is for files that processes read: they look at once."""
    supervised.serving(Role("a", life), Role("b", life))
    supervised.supervisor._on_signal(signal.SIGHUP, None)
    supervised.steps(2)
    kills = [each[1:] for each in supervised.machine.kills]
    assert kills == [("a", signal.SIGHUP), ("b", signal.SIGHUP)]


class TestResting:
    """Who ends well because there is nothing to do is started again when it is woken."""

    def rests(self, supervised: Supervised) -> Crew:
        crew = supervised.serving(RESTING)
        supervised.machine.ends_with("executor", WELL)
        supervised.steps(3)
        assert supervised.machine.begun == []
        return crew

    def test_it_is_left_alone_until_it_is_woken(self, supervised: Supervised) -> None:
        crew = self.rests(supervised)
        supervised.supervisor.wake(crew)
        supervised.steps(2)
        assert [name for _, name, _ in supervised.machine.begun] == ["executor"]

    def test_one_that_is_woken_before_it_ends_is_started_again(
        self, supervised: Supervised
    ) -> None:
        crew = supervised.serving(RESTING)
        supervised.supervisor.wake(crew)
        supervised.machine.ends_with("executor", WELL)
        supervised.steps(2)
        assert [name for _, name, _ in supervised.machine.begun] == ["executor"]
        supervised.machine.ends_with("executor", WELL)
        supervised.steps(3)
        assert len(supervised.machine.begun) == 1

    @pytest.mark.parametrize("status", [SIGKILLED, FAILED])
    def test_one_that_died_is_started_again_by_itself(
        self, supervised: Supervised, status: int
    ) -> None:
        supervised.serving(RESTING)
        supervised.machine.ends_with("executor", status)
        supervised.steps(2)
        assert [name for _, name, _ in supervised.machine.begun] == ["executor"]

    def test_rest_is_no_failure_of_those_before(
        self, supervised: Supervised, caplog: pytest.LogCaptureFixture
    ) -> None:
        crew = supervised.serving(RESTING)
        for _ in range(10):
            supervised.machine.ends_with("executor", WELL)
            supervised.steps(1)
            supervised.supervisor.wake(crew)
            supervised.steps(1)
        assert {now for now, _, _ in supervised.machine.begun} == {0.0}
        assert caplog.text == ""

    def test_a_crew_that_rests_leaves_at_once(self, supervised: Supervised) -> None:
        crew = self.rests(supervised)
        supervised.supervisor.dismiss(crew, GRACE)
        supervised.steps(1)
        assert supervised.told.crews == [("crew", "left")]


class TestStarting:
    """A crew is ready when each of its members is."""

    def test_all_are_started_and_it_is_ready_when_all_are(self, supervised: Supervised) -> None:
        supervised.supervisor.start("crew", WORKERS, Begin.FIRST)
        supervised.steps(1)
        begun = [(name, begin) for _, name, begin in supervised.machine.begun]
        assert begun == [("a", Begin.FIRST), ("b", Begin.FIRST)]
        supervised.machine.says("a", ready=True)
        supervised.steps(2)
        assert supervised.told.crews == []
        supervised.machine.says("b", ready=True)
        supervised.steps(2)
        assert supervised.told.crews == [("crew", "ready")]

    def test_beside_who_answers_they_are_started_one_after_another(
        self, supervised: Supervised
    ) -> None:
        supervised.supervisor.start("crew", WORKERS, Begin.NEXT)
        supervised.steps(3)
        assert [when for when, _, _ in supervised.machine.begun] == [0.0, BETWEEN_FORKS]

    @pytest.mark.parametrize(
        ("status", "words"),
        [(FAILED, "ended with status 1"), (SIGKILLED, "was ended by SIGKILL")],
    )
    def test_who_dies_before_that_has_it_fail(
        self, supervised: Supervised, status: int, words: str
    ) -> None:
        supervised.supervisor.start("crew", WORKERS, Begin.FIRST)
        supervised.steps(1)
        supervised.machine.ends_with("a", status)
        supervised.steps(1)
        assert supervised.told.crews == [("crew", f"a {words} before it was ready")]
        # The others are asked to end, and it is told of when they have.
        supervised.steps(1)
        assert [each[1:] for each in supervised.machine.kills] == [("b", signal.SIGTERM)]
        supervised.machine.ends_with("b", WELL)
        supervised.steps(2)
        assert supervised.told.crews[1:] == [("crew", "left")]

    def test_who_cannot_go_on_says_why(self, supervised: Supervised) -> None:
        supervised.supervisor.start("crew", WORKERS, Begin.FIRST)
        supervised.steps(1)
        supervised.machine.says("a", error="no such file")
        supervised.steps(1)
        assert supervised.told.crews == [("crew", "no such file")]

    def test_what_was_said_last_is_heard(self, supervised: Supervised) -> None:
        supervised.supervisor.start("crew", WORKERS, Begin.FIRST)
        supervised.steps(1)
        supervised.machine.says("a", error="no such file")
        supervised.machine.ends_with("a", FAILED)
        supervised.steps(1)
        assert supervised.told.crews == [("crew", "no such file")]


class TestDying:
    """Who of a crew that serves dies is started again."""

    def test_at_once_and_then_after_ever_longer_rests(
        self, supervised: Supervised, caplog: pytest.LogCaptureFixture
    ) -> None:
        supervised.serving(*WORKERS)
        for _ in range(4):
            supervised.machine.ends_with("a", SIGKILLED)
            while "a" not in [name for _, name, _ in supervised.machine.begun]:
                supervised.steps(1)
            supervised.machine.says("a", ready=True)
            supervised.steps(1)
            supervised.machine.begun.clear()
        assert supervised.machine.now == pytest.approx(0.0 + 0.1 + 0.2 + 0.4)
        assert caplog.text.count("was ended by SIGKILL; starting it again") == 4
        assert caplog.text.count("a is ready again") == 4
        assert supervised.told.crews == []

    def test_it_begins_as_one_that_takes_anothers_place(self, supervised: Supervised) -> None:
        supervised.serving(*WORKERS)
        supervised.machine.ends_with("b", SIGKILLED)
        supervised.steps(2)
        assert [each[1:] for each in supervised.machine.begun] == [("b", Begin.AGAIN)]

    def test_the_director_is_told_when_nobody_can_be_started(
        self, supervised: Supervised, caplog: pytest.LogCaptureFixture
    ) -> None:
        supervised.serving(*WORKERS, TEACHER)
        for name in ("a", "b"):
            supervised.machine.ends_with(name, SIGKILLED)
        supervised.steps(2)
        for _ in range(CONFIG.most_starts):
            assert supervised.told.crews == []
            for name in ("a", "b"):
                supervised.machine.says(name, error="model.onnx is damaged")
                supervised.machine.ends_with(name, FAILED)
            supervised.steps(4)
        (told, *_) = supervised.told.crews
        assert told == (
            "crew",
            "hopeless: no worker can start, after 3 tries in a row: model.onnx is damaged",
        )
        assert "a cannot start: model.onnx is damaged" in caplog.text


class TestEnding:
    """Who is dismissed finishes what is inside, and is killed when its time is over."""

    def test_who_holds_something_is_asked_and_who_holds_nothing_is_killed_last(
        self, supervised: Supervised
    ) -> None:
        crew = supervised.serving(*WORKERS, TEACHER)
        supervised.machine.obeys = True
        supervised.supervisor.dismiss(crew, GRACE)
        supervised.steps(4)
        assert [each[1:] for each in supervised.machine.kills] == [
            ("a", signal.SIGTERM),
            ("b", signal.SIGTERM),
            ("teacher", signal.SIGKILL),
        ]
        assert supervised.told.crews == [("crew", "left")]
        assert all(end.closed for end in supervised.machine.ends.values())

    def test_who_is_ended_on_purpose_is_known_before_it_is(self, supervised: Supervised) -> None:
        """And who dies by itself is not taken for one."""
        told: list[int] = []

        def dismissing(pid: int) -> None:
            assert supervised.machine.kills == []
            told.append(pid)

        role = Role("executor", life, holds_nothing=True, dismissing=dismissing)
        crew = supervised.serving(role)
        supervised.machine.ends_with("executor", SIGKILLED)
        supervised.steps(3)
        assert told == []
        supervised.supervisor.dismiss(crew, 0.0)
        supervised.steps(2)
        assert told == [supervised.machine.pid("executor")]
        assert supervised.told.crews == [("crew", "left")]

    def test_that_one_has_ended_is_told_before_the_next_begins(
        self, supervised: Supervised
    ) -> None:
        told: list[int] = []
        role = Role("worker", life, left=lambda: told.append(supervised.machine.pid("worker")))
        supervised.serving(role)
        first = supervised.machine.pid("worker")
        supervised.machine.ends_with("worker", SIGKILLED)
        supervised.steps(3)
        assert told == [first]
        assert supervised.machine.pid("worker") != first

    def test_who_does_not_end_is_killed(self, supervised: Supervised) -> None:
        crew = supervised.serving(*WORKERS)
        supervised.supervisor.dismiss(crew, GRACE)
        supervised.steps(3)
        killed = [each for each in supervised.machine.kills if each[2] is signal.SIGKILL]
        assert [name for _, name, _ in killed] == ["a", "b"]
        assert killed[0][0] == pytest.approx(GRACE + KILL_AFTER)

    def test_who_may_leave_by_itself_is_asked_later_unless_it_is_hurried(
        self, supervised: Supervised
    ) -> None:
        crew = supervised.serving(*WORKERS)
        supervised.supervisor.dismiss(crew, GRACE, after=50.0)
        supervised.steps(1)
        assert supervised.machine.kills == []
        supervised.machine.now = 20.0
        supervised.supervisor.dismiss(crew, GRACE)
        supervised.steps(1)
        assert [each[0] for each in supervised.machine.kills] == [20.0, 20.0]

    def test_who_dies_meanwhile_is_not_started_again(self, supervised: Supervised) -> None:
        crew = supervised.serving(*WORKERS)
        supervised.supervisor.dismiss(crew, GRACE, after=50.0)
        supervised.machine.ends_with("a", SIGKILLED)
        supervised.steps(2)
        assert supervised.machine.begun == []
        assert crew.phase is Phase.LEAVING

    def test_one_that_is_done_once_it_has_ended_well(self, supervised: Supervised) -> None:
        fetcher = Role("fetcher", life, once=True)
        supervised.supervisor.start("fetching", [fetcher], Begin.NEXT)
        supervised.steps(1)
        supervised.machine.says("fetcher", ready=True)
        supervised.machine.ends_with("fetcher", WELL)
        supervised.steps(2)
        assert supervised.told.crews == [("fetching", "ready")]
        assert len(supervised.machine.begun) == 1


def test_nothing_is_logged_of_who_says_nothing(
    supervised: Supervised, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        supervised.serving(*WORKERS)
        supervised.steps(5)
    assert caplog.text == ""
