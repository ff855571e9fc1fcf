"""When training ends, and which state is kept."""

from __future__ import annotations

import pytest
from cascade_distill.training.early_stopping import Ending, HeldOutLosses, ending, last_step


def losses(*values: float, tolerance: float = 0.003) -> HeldOutLosses:
    found = HeldOutLosses(tolerance=tolerance)
    for at, value in enumerate(values, start=1):
        found = found.with_one_more(10 * at, value)
    return found


class TestHeldOutLosses:
    def test_before_the_first_look_there_is_no_best(self) -> None:
        assert HeldOutLosses().best is None
        assert HeldOutLosses().stalled_at(1) is None
        assert not HeldOutLosses().last_is_best

    def test_the_best_is_the_last_that_is_as_good_as_the_lowest(self) -> None:
        found = losses(3.0, 2.0, 2.5, 2.005, 2.007)
        assert found.best is not None
        assert found.best.step == 40
        assert not found.last_is_best
        assert found.with_one_more(60, 2.005).last_is_best

    def test_without_a_tolerance_only_equals_are_as_good(self) -> None:
        found = losses(3.0, 2.0, 2.0, 2.001, tolerance=0.0)
        assert found.best is not None
        assert found.best.step == 30
        assert found.stalled_at(1) == 40

    def test_a_lower_one_makes_others_worse(self) -> None:
        found = losses(2.0, 2.005, 1.9, 2.005)
        assert found.best is not None
        assert found.best.step == 30

    def test_a_checkpoint_keeps_them_exactly(self) -> None:
        found = losses(0.1 + 0.2, 1 / 3, 2e-17)
        assert HeldOutLosses.from_text(found.to_text(), 0.003) == found


class TestStalling:
    @pytest.mark.parametrize(
        ("seen", "patience", "expected"),
        [
            (losses(), 1, None),
            (losses(3.0), 1, None),
            (losses(3.0, 3.0), 1, None),
            (losses(3.0, 3.008, 3.006, 3.0), 1, None),
            (losses(3.0, 3.01), 1, 20),
            (losses(3.0, 3.1, 2.9, 3.0), 2, None),
            (losses(3.0, 3.1, 2.9, 3.0, 2.91), 2, 50),
            (losses(3.0, 3.1, 3.2, 2.0, 2.1, 2.2), 2, 30),
            (losses(3.0, 3.1, 3.2), 0, None),
        ],
    )
    def test_it_is_the_first_row_of_looks_that_were_worse(
        self, seen: HeldOutLosses, patience: int, expected: int | None
    ) -> None:
        assert seen.stalled_at(patience) == expected

    @pytest.mark.parametrize(
        ("stalled", "expected"), [(None, 100), (40, 50), (41, 52), (90, 100), (100, 100)]
    )
    def test_a_quarter_more_steps_follow_but_never_more_than_were_planned(
        self, stalled: int | None, expected: int
    ) -> None:
        assert last_step(100, stalled) == expected


class TestEnding:
    @pytest.mark.parametrize(
        ("step", "seen", "patience", "seconds", "expected"),
        [
            (50, losses(3.0, 2.0), 2, 0.0, None),
            (50, losses(3.0, 2.0, 2.1), 2, 0.0, None),
            (49, losses(3.0, 2.0, 2.1, 2.2), 2, 0.0, None),
            (50, losses(3.0, 2.0, 2.1, 2.2), 2, 0.0, Ending.NO_BETTER),
            # What came later does not undo it: the learning rate falls already.
            (50, losses(3.0, 2.0, 2.1, 2.2, 1.9), 2, 0.0, Ending.NO_BETTER),
            (50, losses(3.0, 2.0, 2.1, 2.2), 0, 0.0, None),
            (50, HeldOutLosses(), 2, 60.0, Ending.OUT_OF_TIME),
            (50, HeldOutLosses(), 2, 59.9, None),
            (100, losses(3.0, 2.0, 2.1, 2.2), 2, 60.0, Ending.ALL_STEPS),
        ],
    )
    def test_cases(
        self,
        step: int,
        seen: HeldOutLosses,
        patience: int,
        seconds: float,
        expected: Ending | None,
    ) -> None:
        assert ending(step, 100, seen, patience, seconds, 60.0) == expected

    def test_without_a_bound_time_does_not_matter(self) -> None:
        assert ending(1, 100, HeldOutLosses(), 0, 1e9, None) is None
