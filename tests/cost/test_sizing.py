"""How many cores a load takes: the queueing model, what was measured, and what cannot be."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cascade_cost import CurvesRefused, NotPossible
from cascade_cost.curves import MEASURED, Busy, Curves, Point, load_curves
from cascade_cost.sizing import (
    MOST_BUSY,
    Load,
    fitted,
    mean_wait,
    measured_ratio,
    size,
    wait_at,
)
from hypothesis import given
from hypothesis import strategies as st


def point(values: int, columns: int = 20, core_ms: float = 1.0) -> Point:
    return Point("credit", columns, values, 1, 1, core_ms, core_ms, 2 * core_ms)


# A call takes 1 ms and 10 us for each value.
POINTS = tuple(point(values, core_ms=1 + 0.01 * values) for values in (3, 20, 100, 600))
CURVES = Curves("made up", POINTS, (), 100.0, 200.0, {1: 1.0, 2: 0.8})


class TestQueue:
    """M/G/1: textbook cases."""

    def test_an_mm1_queue_waits_as_long_as_it_should(self) -> None:
        # Of an M/M/1 queue E[W] = rho S / (1 - rho), and the wait's quantiles are known exactly.
        assert mean_wait(0.5, 1.0) == pytest.approx(1.0)
        assert wait_at(0.99, 0.5, 1.0) == pytest.approx(2 * math.log(50))

    def test_a_fixed_service_time_waits_half_as_long(self) -> None:
        assert mean_wait(0.5, 1.0, 0.0) == pytest.approx(0.5)

    def test_nobody_waits_where_hardly_anybody_comes(self) -> None:
        assert wait_at(0.99, 0.01, 1.0) == 0

    @given(st.floats(0.02, 0.9), st.floats(1e-6, 10))
    def test_who_is_busier_waits_longer(self, utilisation: float, service: float) -> None:
        assert wait_at(0.99, utilisation + 0.05, service) > wait_at(0.99, utilisation, service)


class TestFit:
    """Lines through what was measured."""

    def test_a_line_is_found_again(self) -> None:
        predict = fitted(POINTS, lambda each: each.core_ms)
        assert predict(20, 300) == pytest.approx(4.0)

    def test_columns_count_where_they_were_measured(self) -> None:
        some = [
            point(values, columns, 0.5 + 0.02 * columns + 0.01 * values)
            for columns in (10, 50, 200)
            for values in (3, 30)
        ]
        assert fitted(some, lambda each: each.core_ms)(100, 10) == pytest.approx(2.6)

    def test_no_part_of_a_line_is_below_nothing(self) -> None:
        odd = [point(3, core_ms=2.0), point(30, core_ms=1.9), point(300, core_ms=1.8)]
        predict = fitted(odd, lambda each: each.core_ms)
        assert predict(20, 10_000) >= predict(20, 1) > 0

    def test_between_utilisations_it_is_in_between(self) -> None:
        busy = (Busy(0.2, 2.0), Busy(0.6, 4.0))
        assert [measured_ratio(busy, each) for each in (0.0, 0.4, 0.9)] == [1.0, 3.0, 4.0]
        assert measured_ratio((), 0.5) == 1


class TestSize:
    """The answer, and when there is none."""

    def test_twice_the_rate_takes_about_twice_the_workers(self) -> None:
        one, two = (size(Load(rate), CURVES).workers for rate in (4000, 8000))
        assert 2 * one - 1 <= two <= 2 * one + 1

    def test_the_teacher_has_a_core_of_its_own(self) -> None:
        found, without = size(Load(10), CURVES), size(Load(10), CURVES, with_teacher=False)
        assert (found.workers, found.cores, without.cores) == (1, 2, 1)
        assert (found.memory_mib, without.memory_mib) == (300, 100)

    def test_what_is_expected_is_what_is_asked(self) -> None:
        load = Load(3000, p99=0.02)
        found = size(load, CURVES)
        assert found.alone_p99 <= found.p99 <= load.p99
        assert found.utilisation <= found.most_utilisation <= MOST_BUSY

    def test_less_time_takes_more_cores(self) -> None:
        assert size(Load(3000, p99=0.005), CURVES).workers > size(Load(3000), CURVES).workers

    def test_what_was_measured_to_be_worse_than_the_model_counts(self) -> None:
        late = replace(CURVES, busy=(Busy(0.3, 20.0),))
        assert size(Load(1000), late).workers > size(Load(1000), CURVES).workers

    def test_workers_that_scale_badly_are_more(self) -> None:
        assert (
            size(Load(5000), replace(CURVES, scaling={})).workers < size(Load(5000), CURVES).workers
        )

    def test_a_p99_below_the_service_time_cannot_be(self) -> None:
        with pytest.raises(NotPossible, match=r"a p99 of 1 ms cannot be kept .* takes 2\.06 ms"):
            size(Load(1, p99=0.001), CURVES)

    def test_a_p99_that_leaves_no_time_to_wait_cannot_be(self) -> None:
        alone = size(Load(1), CURVES).alone_p99
        late = replace(CURVES, busy=(Busy(0.001, 50.0),))
        with pytest.raises(NotPossible, match="leaves no time to wait"):
            size(Load(1, p99=alone * (1 + 1e-9)), late)

    def test_a_table_that_was_not_measured_is_said_to_be(self) -> None:
        found = size(Load(10, columns=400), CURVES, "mine")
        assert any("table mine was not measured" in each for each in found.assumptions)

    def test_more_than_was_measured_is_said_to_be(self) -> None:
        found = size(Load(10, draws=1000, p99=1.0), CURVES)
        assert any("beyond the 600 that were measured" in each for each in found.assumptions)

    @given(st.floats(0.01, 1e5), st.integers(1, 500), st.integers(1, 64), st.floats(1e-4, 10.0))
    def test_any_load_is_answered_or_refused(
        self, rate: float, late: int, draws: int, p99: float
    ) -> None:
        try:
            found = size(Load(rate, late, 1, draws, p99), CURVES)
        except NotPossible:
            return
        assert found.workers >= 1
        assert found.p99 <= p99


class TestFiles:
    """Curves in a file."""

    def test_those_that_come_with_cascade_are_read(self) -> None:
        found = load_curves(MEASURED)
        assert {"adult", "credit"} <= set(found.tables)

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"format": 2}, "format is 2"),
            ({"points": []}, "points is empty"),
            ({"points": None}, "not a file of curves"),
            ({"worker_mib": -1}, "worker_mib is -1; allowed: a number above 0"),
            ({"worker_mib": True}, "worker_mib is True"),
            ({"worker_mib": 10**400}, "worker_mib is 1000"),
            ({"scaling": {"x": 1}}, "not a file of curves"),
            ({"busy": [{}]}, "has no utilisation"),
        ],
    )
    def test_what_is_wrong_is_named(self, change: dict[str, Any], why: str, tmp_path: Path) -> None:
        path = tmp_path / "curves.json"
        path.write_text(json.dumps({**json.loads(MEASURED.read_text()), **change}))
        with pytest.raises(CurvesRefused, match=why):
            load_curves(path)

    @pytest.mark.parametrize("content", ["", "[", "[]", "1", "null", "[" * 100_000])
    def test_no_content_is_a_crash(self, content: str, tmp_path: Path) -> None:
        path = tmp_path / "curves.json"
        path.write_text(content)
        with pytest.raises(CurvesRefused, match=r"curves\.json"):
            load_curves(path)
