"""Who is refused before the request is read, because its turn would come too late."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from cascade_server.cascade.admission import LimitConfig
from cascade_server.cascade.gate import FULL, LATE, Gate
from cascade_server.errors import TooMuch
from cascade_server.services.turns import GONE_A_TURN
from hypothesis import given
from hypothesis import strategies as st

from tests.server.services.turns.bench import Bench, Caller


class TestTheDoor:
    """A request whose turn would come too late is refused before it is read."""

    @pytest.fixture
    def bench(self) -> Bench:
        """Eight wait, at a millisecond each, and are nearly late."""
        bench = Bench()
        bench.gate.turn_ended(1e-3, 1)
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
