"""What a load came to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cascade_loadtest.core_speed import Speed
from cascade_loadtest.open_loop import End, Outcomes

from benchmarks.load.overload.outcomes import Outcome, Refusals, Stretch, goodput_ratio, outcome
from benchmarks.load.overload.server_counts import ServerCounts

NOTHING = ServerCounts(answers=0, by_teacher=0, spent=0, late_executions=0)


def stretch(ends: list[End], seconds: list[float], counts: ServerCounts = NOTHING) -> Stretch:
    return Stretch(0.0, 1.0, Outcomes(ends, np.array(seconds), 0.001), counts, 0, 1.0)


def speed() -> Speed:
    found = Speed()
    found.add([(0.5, 100.0), (2.0, 100.0)])
    return found


def at(offered: float, goodput: float) -> Outcome:
    found = outcome(1.0, [stretch([End.OK], [0.01])], 1.0, 0.1, speed())
    return replace(found, offered_per_s=offered, goodput_per_s=goodput)


class TestOutcome:
    def test_each_call_is_one_of_these(self) -> None:
        ends = [End.OK, End.OK, End.REFUSED, End.REFUSED_HERE, End.LATE, End.GAVE_UP, End.FAILED]
        counts = replace(NOTHING, answers=2, by_teacher=1)
        some = stretch(ends, [0.01, 0.2, 0, 0, 0, 0, 0], counts)
        found = outcome(2.0, [some, some], 0.5, 0.1, speed())
        assert (found.offered_per_s, found.goodput_per_s) == (14.0, 2.0)
        assert found.refused == pytest.approx(2 / 7, abs=1e-4)
        # An answer after its deadline is late, as is who was told so and who gave up.
        assert found.late == pytest.approx(3 / 7, abs=1e-4)
        assert found.failed == pytest.approx(1 / 7, abs=1e-4)
        assert (found.teacher, found.p50_ms, found.lag_ms) == (0.5, 10.0, 1.0)

    def test_nobody_was_answered(self) -> None:
        found = outcome(1.0, [stretch([End.REFUSED], [0.0])], 1.0, 0.1, speed())
        assert (found.goodput_per_s, found.refused, found.late) == (0.0, 1.0, 0.0)
        assert (found.p50_ms, found.p99_ms) == (None, None)
        assert goodput_ratio([found]) == 0.0

    def test_a_machine_too_busy_to_say_how_fast_it_is(self) -> None:
        nothing = Speed()
        nothing.add([(5.0, 100.0)])
        found = outcome(1.0, [stretch([End.OK], [0.01])], 1.0, 0.1, nothing)
        assert found.speed is None

    def test_who_took_the_cores(self) -> None:
        """Of two stretches of half a second."""
        found = Outcomes([End.OK], np.array([0.01]), 0.001, cpu=0.3)
        some = Stretch(0.0, 0.5, found, NOTHING, 0, 1.0, server_cpu=0.6)
        both = outcome(1.0, [some, some], 0.5, 0.1, speed())
        assert (both.callers_cores, both.server_cores) == (0.6, 1.2)


class TestGoodputRatio:
    def test_loads_below_the_peak_do_not_count(self) -> None:
        loads = [at(500, 500), at(1000, 990), at(2000, 1000), at(3000, 900)]
        assert goodput_ratio(loads) == 0.9

    def test_it_is_the_worst_of_them(self) -> None:
        assert goodput_ratio([at(1000, 1000), at(2000, 100), at(3000, 700)]) == 0.1


class TestRefusals:
    def test_counted_to_seen(self) -> None:
        ends = [End.REFUSED, End.REFUSED, End.LATE, End.REFUSED_HERE, End.OK]
        some = stretch(ends, [0.0] * 5, replace(NOTHING, spent=3))
        found = Refusals.in_stretches([some, some])
        assert (found.seen, found.spent, found.ratio) == (6, 6, 1.0)

    def test_what_nobody_was_refused_may_not_make_up_for_what_was_not_counted(self) -> None:
        ends = [End.REFUSED, End.REFUSED, End.GAVE_UP]
        found = Refusals.in_stretches([stretch(ends, [0.0] * 3, replace(NOTHING, spent=2))])
        assert found.ratio == pytest.approx(2 / 3)

    def test_nobody_was_refused(self) -> None:
        assert Refusals.in_stretches([stretch([End.OK], [0.0])]).ratio is None
