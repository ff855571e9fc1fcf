"""What a call takes while the server does nothing else."""

from __future__ import annotations

import pytest
from cascade_server.counts.shared.idle_times import ENOUGH, SPREAD, IdleTimes, OpenCalls, size_of
from cascade_server.memory import Memory
from cascade_server.terms import ServiceClass, Tier

REALTIME, FULL, _ = ServiceClass
STUDENT, TEACHER = Tier
KEY = ("credit", REALTIME, STUDENT)


@pytest.fixture
def idle() -> IdleTimes:
    return IdleTimes({"credit"}, Memory())


def learn(idle: IdleTimes, seconds: float, rows: int = 1, times: int = ENOUGH) -> None:
    for _ in range(times):
        idle.observe(KEY, rows, seconds)


class TestLearning:
    def test_needs_enough_calls(self, idle: IdleTimes) -> None:
        learn(idle, 0.002, times=ENOUGH - 1)
        assert idle.needed(KEY, 1) == 0.0
        learn(idle, 0.002, times=1)
        assert idle.needed(KEY, 1) == pytest.approx(0.002)

    def test_a_server_that_has_become_slow_does_not_need_more(self, idle: IdleTimes) -> None:
        learn(idle, 0.002)
        learn(idle, 2.0, times=1000)
        assert idle.needed(KEY, 1) == pytest.approx(0.002)
        learn(idle, 0.001, times=1000)
        assert idle.needed(KEY, 1) == pytest.approx(0.001)

    def test_one_quick_answer_is_not_what_a_server_needs(self, idle: IdleTimes) -> None:
        learn(idle, 0.002)
        learn(idle, 0.0, times=1)
        assert idle.needed(KEY, 1) > 0.0018

    def test_is_of_its_own_table_class_and_tier(self, idle: IdleTimes) -> None:
        learn(idle, 0.002)
        assert idle.needed(("credit", FULL, STUDENT), 1) == 0.0
        assert idle.needed(("credit", REALTIME, TEACHER), 1) == 0.0
        unknown = ("(unknown)", REALTIME, STUDENT)
        idle.observe(unknown, 1, 1.0)
        assert idle.needed(unknown, 1) == 0.0


class TestSizes:
    def test_are_powers_of_two(self) -> None:
        assert [size_of(rows) for rows in (0, 1, 2, 3, 4, 7, 8, 1 << 40)] == [
            *(0, 0, 1, 1, 2, 2, 3, 19)
        ]

    def test_many_rows_need_more(self, idle: IdleTimes) -> None:
        learn(idle, 0.002)
        assert idle.needed(KEY, 1000) == pytest.approx(0.002)
        learn(idle, 0.03, rows=1000)
        assert idle.needed(KEY, 600) == idle.needed(KEY, 2000) == pytest.approx(0.03 / SPREAD)
        assert idle.needed(KEY, 500) == pytest.approx(0.002)


class TestOpenCalls:
    """Whether a call had its process to itself."""

    def test_one_after_the_other(self) -> None:
        calls = OpenCalls()
        assert calls.end(calls.begin(1.0), 2.0)
        assert calls.end(calls.begin(2.0), 3.0)

    def test_others_beside_it(self) -> None:
        calls = OpenCalls()
        first, second = calls.begin(1.0), calls.begin(1.5)
        assert not calls.end(second, 2.0)
        assert not calls.end(first, 3.0)
        assert calls.end(calls.begin(3.0), 4.0)

    def test_others_before_it_while_it_waited(self) -> None:
        calls = OpenCalls()
        calls.end(calls.begin(1.0), 2.0)
        assert not calls.end(calls.begin(1.5), 3.0)


def test_a_successor_goes_on_from_what_was_learnt() -> None:
    """Results lie where the next process in the same place finds them."""
    idle = IdleTimes({"credit"}, Memory())
    learn(idle, 0.002)
    idle._means.clear()  # what a process keeps to itself
    learn(idle, 0.005)
    assert idle.needed(KEY, 1) == pytest.approx(0.002)
