"""The turns that requests of all edges share, without a server."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
from cascade_server.cascade.admission import LimitConfig
from cascade_server.cascade.gate import FULL, LATE, Gate
from cascade_server.errors import TooMuch
from cascade_server.services.exchange import Exchange
from cascade_server.services.turns import GONE_A_TURN, TURN_SECONDS, Turns, next_size
from hypothesis import given
from hypothesis import strategies as st


class Clock:
    """Goes on by as much as it is told at each look."""

    def __init__(self, *steps: float) -> None:
        self.now, self._steps = 0.0, list(steps)

    def __call__(self) -> float:
        if self._steps:
            self.now += self._steps.pop(0)
        return self.now


class Caller:
    """Somebody who may be patient, or gone."""

    paused = False

    def __init__(self, patient: bool = False, gone: bool = False) -> None:
        self.patient, self.gone = patient, gone
        self.opens = True

    def open(self) -> bool:
        return self.opens

    def wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        work.close()


class Compressed(Caller):
    """Somebody whose message is not to be inflated yet."""

    paused = True


class Bench:
    """Turns whose event loop is a list, and what they have had answered."""

    def __init__(self, most: int = 2, clock: Clock | None = None, room: int | None = None) -> None:
        self.gate = Gate(LimitConfig(promised=50e-3))
        if room is not None:
            self.gate.room = lambda: room  # type: ignore[method-assign]
        self.soon: list[Callable[[], None]] = []
        self.answered: list[tuple[list[str], int]] = []
        self.gone: list[str] = []
        self.started = 0
        answering = Mock(answer=self.answer, gave_up=lambda each: self.gone.append(each.message))
        self.turns = Turns(answering, lambda: self.gate, most, clock or Clock(), self.soon.append)

    def answer(self, exchanges: Sequence[Any], waiting: int) -> int:
        self.answered.append(([each.message for each in exchanges], waiting))
        return self.started

    def add(self, name: Any, deadline: float = math.inf, caller: Any = None) -> None:
        self.turns.add(Exchange(name, caller or Caller(), 0.0, deadline))

    def turn(self) -> None:
        """One turn of the event loop."""
        due, self.soon[:] = list(self.soon), []
        for each in due:
            each()


class TestOrder:
    """What comes together is answered together."""

    def test_all_that_has_come_before_the_turn(self) -> None:
        bench = Bench(most=16)
        for name in "abc":
            bench.add(name)
        assert not bench.answered
        bench.turn()
        assert bench.answered == [(["a", "b", "c"], 0)]

    def test_the_nearest_deadlines_come_first_and_the_others_wait(self) -> None:
        bench = Bench(most=3)
        for name, deadline in (("never", math.inf), ("30", 30.0), ("10", 10.0), ("20", 20.0)):
            bench.add(name, deadline)
        bench.turn()
        bench.turn()
        assert bench.answered == [(["10", "20", "30"], 1), (["never"], 0)]

    def test_of_calls_that_take_long_a_turn_takes_few(self) -> None:
        """So that the loop looks at what else there is as often as with others."""
        bench = Bench(most=4, clock=Clock(0.0, 2.1 * TURN_SECONDS))
        for name in range(10):
            bench.add(name)
        for _ in range(4):
            bench.turn()
        taken = [len(names) for names, _ in bench.answered]
        assert taken == [4, 1, 2, 3]  # Then they take no time at all.

    @pytest.mark.parametrize(
        ("size", "calls", "turns", "expected"),
        [
            (16, 16, 0.9, 16),
            (16, 16, 1.9, 16),
            (16, 16, 4.0, 4),
            (16, 1, 4.0, 1),
            (4, 4, 1.5, 4),
            (4, 4, 0.9, 8),
            (12, 12, 0.9, 16),
            (4, 3, 0.9, 4),
        ],
    )
    def test_what_the_next_turn_takes(
        self, size: int, calls: int, turns: float, expected: int
    ) -> None:
        assert next_size(size, calls, turns * TURN_SECONDS, 16) == expected

    def test_who_has_gone_takes_nobodys_place(self) -> None:
        bench = Bench(most=2)
        bench.add("gone", 1.0, Caller(gone=True))
        for name in "abc":
            bench.add(name, 5.0)
        bench.turn()
        assert bench.gone == ["gone"]
        assert bench.answered == [(["a", "b"], 1)]

    def test_what_cannot_be_opened_is_not_answered(self) -> None:
        bench, damaged = Bench(), Caller()
        damaged.opens = False
        bench.add("damaged", caller=damaged)
        bench.add("whole")
        bench.turn()
        assert bench.answered == [(["whole"], 0)]

    def test_what_is_not_to_be_opened_yet_waits_and_keeps_nobody_waiting(self) -> None:
        bench, inflated = Bench(), Caller()
        inflated.paused = True
        bench.add("large", caller=inflated)
        bench.add("small")
        bench.turn()
        inflated.paused = False
        bench.turn()
        assert bench.answered == [(["small"], 0), (["large"], 0)]

    def test_what_is_to_be_inflated_is_no_reason_to_refuse_others(self) -> None:
        bench = Bench(clock=Clock(1.0, 1.0, 1.0))
        for number in range(100):
            bench.add(number, caller=Compressed())
        for name in ("first", "second"):
            bench.add(name)
            bench.turn()
            bench.turns.admit(0.0, math.inf)
        assert [names for names, _ in bench.answered] == [["first"], ["second"]]

    def test_compressed_messages_are_opened_in_their_order_though_others_keep_coming(self) -> None:
        bench, compressed = Bench(most=4), [Compressed() for _ in range(3)]
        for number, caller in enumerate(compressed):
            bench.add(number, caller=caller)
        bench.turn()
        for caller in compressed:
            caller.paused = False
        for _ in range(3):
            for name in "abcdefgh":
                bench.add(name)
            bench.turn()
        assert [names[:1] for names, _ in bench.answered] == [[0], [1], [2]]

    def test_one_that_cannot_be_opened_is_gone(self) -> None:
        bench, damaged, whole = Bench(most=8), Compressed(), Compressed()
        damaged.opens = False
        bench.add("damaged", caller=damaged)
        bench.add("whole", caller=whole)
        bench.turn()
        damaged.paused = whole.paused = False
        bench.turn()
        assert bench.answered == [(["whole"], 0)]
        bench.turn()
        assert not bench.soon


class TestRoom:
    """The patient wait for room; others are told that there is none."""

    def test_the_patient_are_not_taken_where_there_is_no_room(self) -> None:
        bench = Bench(most=16, room=1)
        bench.add("unary")
        bench.add("streamed", caller=Caller(patient=True))
        bench.add("other unary")
        bench.turn()
        assert bench.answered == [(["unary", "other unary"], 1)]
        bench.turn()
        assert bench.answered[1:] == [(["streamed"], 0)]

    def test_tasks_that_have_not_begun_take_room(self) -> None:
        bench = Bench(room=8)
        bench.started = 3
        bench.add("a")
        bench.turn()
        assert bench.turns.room() == 8 - 3
        bench.turn()
        assert bench.turns.room() == 8

    def test_while_nothing_is_loaded_all_may_wait_to_be_told_so(self) -> None:
        turns = Turns(Mock(), lambda: None, soon=lambda _: None)
        assert turns.room() == math.inf
        turns.admit(0.0, 1e-9)


class TestTheDoor:
    """A request whose turn would come too late is refused before it is read."""

    @pytest.fixture
    def bench(self) -> Bench:
        """Eight wait, at a millisecond each, and are nearly late."""
        bench = Bench()
        bench.gate.turned(1e-3, 1)
        for number in range(8):
            bench.add(number, 1e-3)
        return bench

    def test_by_what_is_left_to_it(self, bench: Bench) -> None:
        bench.turns.admit(10.0, 10.0 + 12e-3)
        with pytest.raises(TooMuch):
            bench.turns.admit(10.0, 10.0 + 10e-3)

    def test_by_what_is_promised_unless_it_is_patient(self, bench: Bench) -> None:
        for number in range(8, 12):
            bench.add(number, 1e-3)
        with pytest.raises(TooMuch):
            bench.turns.admit(0.0, math.inf)
        bench.turns.admit(0.0, math.inf, patient=True)
        with pytest.raises(TooMuch):
            bench.turns.admit(0.0, 14e-3, patient=True)

    def test_by_those_whose_deadlines_are_nearer(self, bench: Bench) -> None:
        """A pile of calls that are in no hurry is no reason to refuse one that is."""
        for number in range(8, 19):
            bench.add(number)
        bench.turns.admit(0.0, 5.0)
        with pytest.raises(TooMuch):
            bench.turns.admit(0.0, math.inf)
        for number in range(4):
            bench.add(number, 4.0)
        with pytest.raises(TooMuch):
            bench.turns.admit(0.0, 5.0)

    def test_but_those_who_wait_are_not_overtaken_without_end(self, bench: Bench) -> None:
        for number in range(8, 24):
            bench.add(number)
        bench.turns.admit(0.0, 5.0)
        bench.add(24)
        with pytest.raises(TooMuch):
            bench.turns.admit(0.0, 5.0)

    def test_those_who_have_hung_up_are_in_nobodys_way(self, bench: Bench) -> None:
        """As many as may wait came, and took their calls back."""
        callers = [Caller() for _ in range(64)]
        for caller in callers:
            bench.add("reset", 1.0, caller)
        with pytest.raises(TooMuch):
            bench.turns.admit(0.0, math.inf)
        for caller in callers:
            caller.gone = True
            bench.turns.one_gone()
        bench.turns.admit(0.0, math.inf)
        bench.turn()  # They are cleared, and no longer counted: two are answered, six are left.
        assert bench.turns.room() == 64 - 6

    def test_some_who_are_gone_wait_on(self, bench: Bench) -> None:
        callers = [Caller() for _ in range(GONE_A_TURN + 5)]
        for caller in callers:
            bench.add("reset", 1.0, caller)
            caller.gone = True
            bench.turns.one_gone()
        bench.turn()
        # Two of the eight are answered; five who are gone wait on, and are not counted.
        assert bench.turns.room() == 64 - 6


class TestPace:
    """Turns tell the gate how fast requests are answered."""

    def test_where_others_wait_from_one_to_the_next(self) -> None:
        """To refuse calls in between takes time too."""
        told: list[tuple[float, int]] = []
        bench = Bench(most=2, clock=Clock(10.0, 0.1, 0.15, 0.5))
        bench.gate.turned = lambda seconds, left: told.append((seconds, left))  # type: ignore[method-assign]
        for name in "abc":
            bench.add(name)
        bench.turn()  # from 10.0 to 10.1, leaves one
        bench.turn()  # begins at 10.25, ends at 10.75
        assert told == [(0.25 / 2, 1), (0.5, 0)]

    def test_what_is_to_be_done_after_a_turn(self) -> None:
        """So that answers of one turn leave together."""
        bench, done = Bench(), list[str]()
        bench.turns.then(lambda: done.append("at once"))
        assert done == ["at once"]
        answer = bench.answer

        def answering(exchanges: Sequence[Any], waiting: int) -> int:
            bench.turns.then(lambda: done.append("after"))
            done.append("in the turn")
            return answer(exchanges, waiting)

        bench.turns._answering.answer = answering  # type: ignore[method-assign]
        bench.add("a")
        bench.turn()
        assert done == ["at once", "in the turn", "after"]


class TestRefusedAlike:
    """Who is refused as others were before is refused for a reason that holds for him too."""

    def piled(self) -> Bench:
        """As many wait as may, with far deadlines, and one has been refused for it."""
        bench = Bench(most=8)
        bench.gate.seconds_a_call = 1e-3
        for number in range(15):
            bench.add(number, 1.0)
        assert bench.turns.refusal(0.0, 1.0, crowd=100) is not None
        return bench

    def test_the_next_is_told_the_same_and_counted(self) -> None:
        bench = self.piled()
        first, refused = bench.turns.refusal(0.0, 1.0, crowd=100), bench.gate.refused
        assert bench.turns.refusal(1e-3, 1.1, crowd=90) is first
        assert bench.gate.refused == refused + 1

    def test_a_nearer_deadline_is_another_matter(self) -> None:
        assert self.piled().turns.refusal(0.0, 0.5, crowd=100) is None

    def test_so_is_who_asks_for_little(self) -> None:
        assert self.piled().turns.refusal(0.0, 1.0, crowd=3) is None

    def test_so_is_who_comes_after_a_turn(self) -> None:
        bench = self.piled()
        bench.turn()
        assert bench.turns.refusal(0.0, 1.0, crowd=100) is None

    def test_so_is_who_is_patient(self) -> None:
        assert self.piled().turns.refusal(0.0, 1.0, patient=True) is None

    def test_so_is_who_comes_once_as_many_wait_as_may(self) -> None:
        """One who asks for little is let in meanwhile, and takes the last place."""
        bench = Bench(most=8)
        bench.gate = Gate(LimitConfig(promised=50e-3, initial=8), slept=lambda: 0)
        bench.gate.seconds_a_call = 2e-3
        for number in range(7):
            bench.add(number, 1.0)
        late = bench.turns.refusal(0.0, 1.0, crowd=100)
        assert late is not None
        assert late.message == LATE
        assert bench.turns.refusal(0.0, 1.0, crowd=2) is None
        bench.add("the last place", 1.0)
        full = bench.turns.refusal(0.0, 1.0, crowd=100)
        assert full is not None
        assert full.message == FULL
        # Of which that is no more the reason once more may wait.
        bench.gate.limit = replace(bench.gate.limit, value=9.0)
        late = bench.turns.refusal(0.0, 1.0, crowd=100)
        assert late is not None
        assert late.message == LATE

    @given(
        st.lists(
            st.tuples(
                st.floats(0, 5e-3),  # later than the one before
                st.sampled_from([1e-3, 10e-3, 12e-3, 15e-3, 20e-3, 60e-3, 100e-3, 1.0, math.inf]),
                st.integers(1, 100),
                st.sampled_from(["asks", "asks", "asks", "hangs up", "turn"]),
            ),
            max_size=60,
        ),
        st.floats(1e-4, 5e-3),
        st.sampled_from([50e-3, math.inf]),
        st.integers(8, 64),
    )
    def test_each_as_if_he_had_come_alone(
        self,
        steps: list[tuple[float, float, int, str]],
        pace: float,
        promised: float,
        limit: int,
    ) -> None:
        bench = Bench(most=2)
        bench.gate = Gate(LimitConfig(promised=promised, initial=limit), slept=lambda: 0)
        bench.gate.seconds_a_call = pace
        now = 0.0
        for later, given_seconds, crowd, what in steps:
            now += later
            if what == "turn":
                bench.turn()
                bench.gate.seconds_a_call = pace
                continue
            if what == "hangs up" and len(bench.turns):
                bench.turns.one_gone()
                continue
            deadline, refused = now + given_seconds, bench.gate.refused
            found = bench.turns.refusal(now, deadline, crowd=crowd)
            why = bench.gate.objection(
                bench.turns._ahead(),
                deadline - now,
                before=lambda deadline=deadline: bench.turns._before(deadline),  # type: ignore[misc]
                crowd=crowd,
            )
            assert (found and found.message) == why
            assert bench.gate.refused - refused == (why is not None)
            if found is None:
                bench.add("call", deadline)
