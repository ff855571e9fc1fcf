"""What the queue decides, over told times."""

from __future__ import annotations

import math

import pytest
from cascade_client.turns.queue import End, Limits, State, TurnQueue, TurnStatistics, Waiting

ONE = Limits(first=1, most=1)


def waits(queue: TurnQueue, now: float, expiry: float, kind: str = "fast") -> Waiting:
    found = queue.enter(now, expiry, kind)
    assert found is not None
    return found


def answered(queue: TurnQueue, now: float, took: float, kind: str = "fast") -> list[Waiting]:
    return queue.leave(now, now - took, kind, End.ANSWERED)


def paced(pace: float = 0.1, takes: float = 0.1, most: int = 1) -> TurnQueue:
    """A full queue that has seen a call answered every `pace` seconds, up to second 10."""
    queue = TurnQueue(Limits(most, most))
    for _ in range(most):
        queue.enter(10 - 32 * pace, math.inf, "fast")
    for number in range(32):
        waits(queue, 0, math.inf)
        answered(queue, 10 - (31 - number) * pace, takes)
    return queue


class TestTurns:
    """So many at a time, the earliest deadline first."""

    def test_who_finds_a_place_does_not_wait(self) -> None:
        queue = TurnQueue(Limits(first=2, most=2))
        assert [queue.enter(0, 1, "fast") for _ in range(2)] == [None, None]
        assert queue.enter(0, 1, "fast") is not None
        assert queue.statistics() == TurnStatistics(2, 2, 1, 0)

    def test_the_earliest_deadline_is_next(self) -> None:
        queue = TurnQueue(ONE)
        queue.enter(0, 1, "fast")
        late, early, middle = (waits(queue, 0, expiry) for expiry in (3, 1, 2))
        told = [answered(queue, 0.1 * step, 0.1)[0] for step in (1, 2, 3)]
        assert told == [early, middle, late]
        assert {each.state for each in told} == {State.ITS_TURN}

    def test_equal_deadlines_go_as_they_came(self) -> None:
        queue = TurnQueue(ONE)
        queue.enter(0, 1, "fast")
        three = [waits(queue, 0, 2) for _ in range(3)]
        assert [answered(queue, 0.1, 0.1)[0] for _ in three] == three

    def test_where_nothing_is_foreseen_nobody_is_late(self) -> None:
        """How long others have stood open says nothing of those that wait to."""
        queue = TurnQueue(Limits(1, 1, foresees=False))
        queue.enter(0, math.inf, "")
        for number in range(32):
            waits(queue, 0, math.inf)
            answered(queue, 15.0 * number, 15.0, "")
        first, second = (waits(queue, 480, 490) for _ in "12")
        assert queue.lateness(480, 490, "") == 0
        assert [answered(queue, now, 4, "")[0] for now in (484, 488)] == [first, second]
        assert {each.state for each in (first, second)} == {State.ITS_TURN}

    def test_nobody_overtakes_who_waits(self) -> None:
        """A place that is free is for who waits, though none has been told yet."""
        queue = TurnQueue(Limits(first=2, most=2))
        queue.enter(0, 9, "fast")
        queue.enter(0, 9, "fast")
        first = waits(queue, 0, 9)
        assert answered(queue, 0.1, 0.1) == [first]
        assert queue.statistics().in_flight == 2

    def test_without_a_deadline_one_is_overtaken_for_a_while_only(self) -> None:
        queue = TurnQueue(ONE)
        queue.enter(0, math.inf, "fast")
        patient = waits(queue, 0, math.inf)
        soon, later = waits(queue, 1, 3), waits(queue, 6, 8)
        assert [answered(queue, 6.1, 0.1)[0] for _ in range(3)] == [soon, patient, later]


class TestGivingUp:
    """A caller that no longer wants its turn leaves no trace."""

    def test_while_it_waits(self) -> None:
        queue = TurnQueue(ONE)
        queue.enter(0, 1, "fast")
        first, second = waits(queue, 0, 2), waits(queue, 0, 2)
        assert queue.give_up(0.1, first) == []
        assert answered(queue, 0.2, 0.2) == [second]

    def test_when_its_turn_has_come_the_next_has_it(self) -> None:
        queue = TurnQueue(ONE)
        queue.enter(0, 1, "fast")
        first, second = waits(queue, 0, 2), waits(queue, 0, 2)
        answered(queue, 0.2, 0.2)
        assert queue.give_up(0.3, first) == [second]
        assert queue.statistics() == TurnStatistics(1, 1, 0, 0)


class TestLateness:
    """Who would be late is refused before it waits."""

    def test_the_wait_is_that_of_those_before(self) -> None:
        queue = paced(pace=0.1, takes=0.3)
        for _ in range(3):
            waits(queue, 10, 11)
        # Four turns of .1 s and .3 s for the answer, of which .8 times the time left are for.
        assert queue.lateness(10, 12, "fast") == pytest.approx(0.4 + 0.3 - 0.8 * 2)
        assert queue.lateness(10, 10.9, "fast") <= 0  # before them all
        assert queue.lateness(10, math.inf, "fast") == -math.inf

    def test_kinds_take_their_own_time(self) -> None:
        queue = paced(pace=0.1, takes=0.1)
        waits(queue, 10, 11)
        queue.leave(10, 6, "full", End.ANSWERED)
        waits(queue, 10, 10.5)
        waits(queue, 10, 10.6)
        fast, full = (queue.lateness(10, 11.5, kind) for kind in ("fast", "full"))
        assert full - fast == pytest.approx(4 - 0.1)

    def test_answers_that_never_came_count_for_as_long_as_they_were_waited_for(self) -> None:
        queue = paced(takes=0.1)
        before = queue.lateness(10, 12, "fast")
        waits(queue, 10, 11)
        waits(queue, 10, 11)
        queue.leave(10.1, 6.9, "fast", End.LATE)  # 3.2 s, of which one in 32 counts
        waits(queue, 10.1, 11.1)
        assert before == 0
        pace, takes = 0.1, 0.1 + (3.2 - 0.1) / 32
        assert queue.lateness(10.1, 12.1, "fast") == pytest.approx(3 * pace + takes - 0.8 * 2)

    def test_nobody_is_refused_before_the_pace_is_known(self) -> None:
        queue = TurnQueue(ONE)
        queue.enter(0, 1, "fast")
        for _ in range(9):
            waits(queue, 0, 0.001)
        assert queue.lateness(0, 0.002, "fast") <= 0

    def test_the_first_to_wait_is_let_in_so_that_a_bad_pace_decays(self) -> None:
        queue = paced(pace=100.0)
        assert queue.lateness(10, 10.001, "fast") <= 0

    def test_who_is_plainly_late_when_its_turn_comes_is_dropped(self) -> None:
        queue = paced(takes=0.5, most=2)
        late, other = waits(queue, 10, 10.9), waits(queue, 10, 20)
        told = answered(queue, 10.7, 0.5)
        assert [(each is late, each.state) for each in told] == [
            (True, State.LATE),
            (False, State.ITS_TURN),
        ]
        assert told[1] is other
        assert queue.statistics().refused == 1

    def test_but_not_while_nothing_is_in_flight(self) -> None:
        """Else a bad measurement would refuse all calls, and never be corrected."""
        queue = paced(takes=50.0)
        only = waits(queue, 10, 12)
        answered(queue, 10, 50)
        assert only.state is State.ITS_TURN

    def test_who_is_behind_others_that_take_longer_is_told_at_once(self) -> None:
        queue = paced(pace=0.1)
        many = [waits(queue, 10, 11.2 + 0.001 * number) for number in range(6)]
        told = answered(queue, 10.3, 0.3)
        assert told == many[:1]  # .1 s each would do for the others
        told = answered(queue, 11.0, 0.7)
        assert [each.state for each in many[1:]] == [State.ITS_TURN] + [State.LATE] * 4
        assert told == [*many[2:], many[1]]


class TestLimit:
    """How many may be in flight is learnt."""

    def test_a_call_too_many_for_the_connection_says_it(self) -> None:
        queue = TurnQueue(Limits(first=8, most=8))
        for _ in range(6):
            queue.enter(0, 9, "fast")
        assert queue.leave(0, 0, "fast", End.TURNED_AWAY) == []
        assert queue.statistics() == TurnStatistics(5, 5, 0, 0)
        assert queue.enter(0, 9, "fast") is not None

    def test_a_refusal_shrinks_it_once(self) -> None:
        queue = TurnQueue(Limits(first=10, most=10))
        for _ in range(10):
            queue.enter(0, 9, "fast")
        for _ in range(3):
            queue.leave(1, 0, "fast", End.REFUSED)
        assert queue.limit == 9
        queue.enter(2, 9, "fast")
        queue.leave(3, 2, "fast", End.REFUSED)
        assert queue.limit == pytest.approx(8.1)

    def test_never_below_one(self) -> None:
        queue = TurnQueue(ONE)
        for second in range(9):
            queue.enter(second, 9, "fast")
            queue.leave(second + 0.5, second, "fast", End.REFUSED)
        assert queue.statistics().limit == 1

    def test_a_late_answer_shrinks_it_where_there_was_time_enough(self) -> None:
        queue = TurnQueue(Limits(first=10, most=10))
        queue.enter(0, 9, "fast")
        answered(queue, 0.1, 0.1)
        for took, limit in ((0.14, 10), (0.5, 7)):
            queue.enter(1, 9, "fast")
            queue.leave(1 + took, 1, "fast", End.LATE)
            assert queue.limit == pytest.approx(limit)

    def test_answers_grow_it_while_others_wait(self) -> None:
        queue = TurnQueue(Limits(first=2, most=3))
        for _ in range(3):
            queue.enter(0, 9, "fast")
        for step in range(9):
            waits(queue, step, 99)
            answered(queue, step, 0.1)
        assert queue.statistics().limit == 3
        assert queue.statistics().in_flight == 3

    def test_and_not_while_none_does(self) -> None:
        queue = TurnQueue(Limits(first=2, most=9))
        for step in range(99):
            queue.enter(step, 999, "fast")
            answered(queue, step + 0.5, 0.5)
        assert queue.limit == 2

    def test_bounds(self) -> None:
        with pytest.raises(ValueError, match=r"first is 9; 1 to most \(8\)"):
            Limits(first=9, most=8)
        with pytest.raises(ValueError, match="first is 0"):
            Limits(first=0)


class TestPace:
    """How fast answers come."""

    def test_it_is_not_measured_from_before_the_channel_was_full(self) -> None:
        """A limit that shrinks to what is in flight makes it full, as a call does that is sent."""
        now = 50_000.0
        queue = TurnQueue(Limits(first=16, most=16))
        for _ in range(15):
            assert queue.enter(now, now + 1, "fast") is None
        queue.leave(now + 0.01, now, "fast", End.REFUSED)
        assert queue.in_flight + 1 > queue.limit
        for number in range(14):
            queue.leave(now + 0.01 * (number + 2), now, "fast", End.ANSWERED)
        assert queue._pace.mean < 1
