"""The teacher's sampler: which slots each pass reveals, and the chain rule."""

from __future__ import annotations

import numpy as np
import pytest
from cascade_tables.sampling import (
    log_likelihood,
    reveal_schedule,
    sample_teacher,
    teacher_noise_width,
)

# Three columns; the second has a coarse and a fine slot.
COLUMN = (0, 1, 1, 2)
SIZES = (2, 3, 4, 5)


def noise(rows: int, seed: int = 0) -> np.ndarray:
    width = teacher_noise_width(SIZES, COLUMN)
    return np.random.default_rng(seed).random((rows, width), dtype=np.float32)


class TestSchedule:
    @pytest.mark.parametrize("steps", [1, 2, 3, 7])
    def test_every_missing_slot_is_revealed_exactly_once(self, steps: int) -> None:
        rng = np.random.default_rng(1)
        observed = (rng.random((50, 3)) < 0.4)[:, list(COLUMN)]
        passes = list(reveal_schedule(observed, noise(50)[:, :3], COLUMN, steps))
        assert len(passes) <= steps
        assert np.array_equal(np.sum(passes, axis=0), (~observed).astype(int))

    def test_a_columns_slots_are_revealed_together(self) -> None:
        for reveal in reveal_schedule(np.zeros((20, 4), bool), noise(20)[:, :3], COLUMN, 3):
            assert np.array_equal(reveal[:, 1], reveal[:, 2])
            assert (reveal[:, [0, 1, 3]].sum(axis=1) == 1).all()

    def test_all_orders_occur(self) -> None:
        first = next(reveal_schedule(np.zeros((600, 4), bool), noise(600)[:, :3], COLUMN, 3))
        share = first[:, [0, 1, 3]].mean(axis=0)
        # Each of three columns is first in a third of the rows; 5 standard errors are 0.096.
        assert np.abs(share - 1 / 3).max() < 0.096

    def test_no_passes_where_nothing_is_missing(self) -> None:
        assert list(reveal_schedule(np.ones((3, 4), bool), noise(3)[:, :3], COLUMN, 3)) == []

    def test_steps_below_one_are_refused(self) -> None:
        with pytest.raises(ValueError, match="steps is 0; it must be at least 1"):
            next(reveal_schedule(np.zeros((1, 4), bool), noise(1)[:, :3], COLUMN, 0))


class TestSample:
    def test_a_pass_sees_what_earlier_passes_drew(self) -> None:
        seen: list[np.ndarray] = []

        def denoise(tokens, observed, uniform):  # type: ignore[no-untyped-def]
            seen.append(observed.copy())
            assert uniform.shape == (len(tokens), sum(SIZES))
            return np.full_like(tokens, observed.sum(axis=1, keepdims=True) + 1)

        nothing = np.zeros((1, 4), np.int32)
        drawn = sample_teacher(denoise, nothing, np.zeros((1, 4), bool), noise(1), COLUMN, 3)
        assert [int(o.sum()) for o in seen] == sorted(int(o.sum()) for o in seen)
        assert len(seen) == 3
        assert (drawn > 0).all()

    def test_observed_slots_are_untouched_and_absent_ones_are_not_read(self) -> None:
        def denoise(tokens, observed, uniform):  # type: ignore[no-untyped-def]
            assert (tokens[~observed] == 0).all()
            return np.ones_like(tokens)

        tokens = np.full((5, 4), 9, np.int32)
        observed = np.tile([True, False, False, False], (5, 1))
        drawn = sample_teacher(denoise, tokens, observed, noise(5), COLUMN, 3)
        assert np.array_equal(drawn, np.tile(np.array([9, 1, 1, 1], np.int32), (5, 1)))

    def test_it_stops_between_passes_when_told(self) -> None:
        def stop(step: int) -> None:
            if step == 1:
                raise TimeoutError

        def denoise(tokens, observed, uniform):  # type: ignore[no-untyped-def]
            return tokens

        with pytest.raises(TimeoutError):
            sample_teacher(
                denoise,
                np.zeros((1, 4), np.int32),
                np.zeros((1, 4), bool),
                noise(1),
                COLUMN,
                3,
                before_pass=stop,
            )


class TestLikelihood:
    def test_it_is_the_chain_rule_over_observed_columns(self) -> None:
        """With independent uniform slots ln p is minus the sum of the observed slots' ln size."""
        given: list[np.ndarray] = []

        def log_prob(tokens, observed):  # type: ignore[no-untyped-def]
            given.append(observed)
            return np.where(observed, 0, -np.log(SIZES)).astype(np.float32)

        observed = np.array([[True, True, True, False], [False] * 4, [True] * 4])
        total = log_likelihood(log_prob, np.zeros((3, 4), np.int32), observed, COLUMN)
        expected = [-np.log(2 * 3 * 4), 0.0, -np.log(2 * 3 * 4 * 5)]
        np.testing.assert_allclose(total, expected, rtol=1e-6)
        # One batch: a pair of (row, observed column) each, conditioned on the columns before it.
        assert [len(g) for g in given] == [5]
        assert given[0].sum(axis=1).tolist() == [0, 1, 0, 1, 3]
