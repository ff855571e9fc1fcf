"""The highest fidelity that fits the deadline."""

from __future__ import annotations

import math

import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.cascade.packing import explain
from cascade_server.cascade.router import MARGIN, Option, choose
from cascade_server.terms import Tier, Wanted

FULL = Option(Tier.TEACHER, 24, 20e-3)
HALF = Option(Tier.TEACHER, 12, 10e-3)
FAST = Option(Tier.STUDENT, 1, 0.2e-3)
OPTIONS = (FULL, HALF, FAST)
POOL = Option(Tier.TEACHER, 24, 0.05e-3, from_pool=True)


def enough(option: Option) -> float:
    """Just the time that leaves room for an option."""
    return option.seconds / (1 - MARGIN)


class TestAuto:
    @pytest.mark.parametrize(
        ("remaining", "expected"),
        [
            (math.inf, FULL),
            (enough(FULL), FULL),
            (enough(FULL) - 1e-6, HALF),
            (enough(HALF) - 1e-6, FAST),
            (enough(FAST), FAST),
        ],
    )
    def test_takes_the_highest_that_fits(self, remaining: float, expected: Option) -> None:
        assert choose(OPTIONS, remaining, Wanted.AUTO).option == expected

    @pytest.mark.parametrize(
        ("promised", "expected"),
        [
            (enough(FULL), FULL),
            (enough(FULL) - 1e-6, HALF),
            (enough(FAST), FAST),
            # Not even the student keeps it: then the deadline alone decides.
            (enough(FAST) - 1e-6, FULL),
        ],
    )
    def test_keeps_what_is_promised_where_it_can(self, promised: float, expected: Option) -> None:
        assert choose(OPTIONS, math.inf, Wanted.AUTO, promised=promised).option == expected
        asked_for = choose(OPTIONS, math.inf, Wanted.FULL, promised=promised)
        assert asked_for.option == FULL

    @pytest.mark.parametrize("remaining", [enough(FAST) - 1e-6, 0.0, -1.0])
    def test_refuses_at_once_what_would_be_late(self, remaining: float) -> None:
        route = choose(OPTIONS, remaining, Wanted.AUTO)
        assert route.option is None
        assert "student is predicted to take 0.20 ms" in route.reason

    @pytest.mark.parametrize(
        ("steps_down", "expected"), [(0, FULL), (1, HALF), (2, FAST), (3, FAST), (99, FAST)]
    )
    def test_steps_down_while_a_budget_burns_but_never_below_the_student(
        self, steps_down: int, expected: Option
    ) -> None:
        route = choose(OPTIONS, math.inf, Wanted.AUTO, steps_down)
        assert route.option == expected
        assert ("error budget" in route.reason) == (steps_down > 0)

    def test_leaves_out_where_as_many_wait_as_may(self) -> None:
        crowded = FULL._replace(crowded=True), FAST
        route = choose(crowded, math.inf, Wanted.AUTO)
        assert route.option == FAST
        assert route.reason.startswith("too much to do for more to wait for the teacher; 0.20 ms")
        assert choose(crowded, math.inf, Wanted.FULL).option == crowded[0]
        # Rows that are there keep nobody waiting.
        assert choose((POOL, *crowded), math.inf, Wanted.AUTO).option == POOL
        # Who is the last to be asked is not left out.
        assert choose(crowded[:1], math.inf, Wanted.AUTO).option == crowded[0]

    def test_says_what_the_next_tier_would_have_taken(self) -> None:
        route = choose(OPTIONS, enough(HALF), Wanted.AUTO)
        assert route.reason == (
            "10.00 ms predicted, 12.50 ms left; teacher in 24 passes would take 20.00 ms"
        )
        assert route.considered == OPTIONS


class TestAskedFor:
    """FAST and FULL are honoured or refused with the reason."""

    @pytest.mark.parametrize(("wanted", "expected"), [(Wanted.FAST, FAST), (Wanted.FULL, FULL)])
    def test_is_honoured_whatever_burns(self, wanted: Wanted, expected: Option) -> None:
        assert choose(OPTIONS, math.inf, wanted, steps_down=2).option == expected

    def test_full_is_refused_rather_than_answered_by_less(self) -> None:
        route = choose(OPTIONS, enough(HALF), Wanted.FULL)
        assert route.option is None
        assert "12.50 ms are left" in route.reason
        assert "teacher in 24 passes is predicted to take 20.00 ms" in route.reason


class TestPool:
    """The full teacher's rows at once: for everybody, whatever burns."""

    @pytest.mark.parametrize("wanted", list(Wanted))
    def test_it_is_taken_whatever_is_asked_for(self, wanted: Wanted) -> None:
        for options in ((POOL, *OPTIONS), (POOL,)):
            route = choose(options, enough(POOL), wanted, steps_down=2)
            assert route.option == POOL
            assert route.considered == options
        assert route.reason == (
            "the teacher's rows, made ahead of time; 0.05 ms predicted, 0.06 ms left"
        )

    @pytest.mark.parametrize(
        ("wanted", "expected"), [(Wanted.AUTO, FULL), (Wanted.FAST, FAST), (Wanted.FULL, FULL)]
    )
    def test_a_pool_that_would_be_late_leaves_the_rest_as_it_is(
        self, wanted: Wanted, expected: Option
    ) -> None:
        slow = Option(Tier.TEACHER, 24, 1.0, from_pool=True)
        assert choose((slow, *OPTIONS), 0.5, wanted).option == expected

    def test_stepping_down_leaves_out_what_computes(self) -> None:
        slow = Option(Tier.TEACHER, 24, 1.0, from_pool=True)
        assert choose((slow, *OPTIONS), 0.5, Wanted.AUTO, steps_down=1).option == HALF


def test_a_teacher_that_is_not_there_is_no_option_to_explain() -> None:
    options = (Option(Tier.TEACHER, 5, math.inf), Option(Tier.STUDENT, 1, 0.001))
    route = choose(options, math.inf, Wanted.AUTO)
    assert route.reason.endswith("teacher in 5 passes is not ready")
    out = pb.Routing()
    explain(route, out)
    assert [each.steps for each in out.considered] == [1]
