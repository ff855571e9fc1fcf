"""The teacher's sampler: which slots each pass reveals, and the chain rule."""

from __future__ import annotations

import numpy as np
import pytest
from cascade_tables import TokenLayout
from cascade_tables.sampling import (
    TeacherRows,
    log_likelihood,
    reveal_passes,
    sample_teacher,
    teacher_noise_width,
)

# Three columns; the second has a coarse and a fine slot.
COLUMN = (0, 1, 1, 2)
SIZES = (2, 3, 4, 5)
LAYOUT = TokenLayout(SIZES, COLUMN, ("value", "coarse", "fine", "value"), (None,) * 4)


def noise(rows: int, seed: int = 0) -> np.ndarray:
    width = teacher_noise_width(SIZES, COLUMN)
    return np.random.default_rng(seed).random((rows, width), dtype=np.float32)


class TestPasses:
    @pytest.mark.parametrize("steps", [1, 2, 3, 7])
    def test_every_missing_slot_is_revealed_in_one_of_them(self, steps: int) -> None:
        rng = np.random.default_rng(1)
        observed = (rng.random((50, 3)) < 0.4)[:, list(COLUMN)]
        at = reveal_passes(observed, noise(50)[:, :3], COLUMN, 0, steps)
        assert np.array_equal(at == -1, observed)
        assert at.max() < steps

    def test_a_columns_slots_are_revealed_together(self) -> None:
        at = reveal_passes(np.zeros((20, 4), bool), noise(20)[:, :3], COLUMN, 0, 3)
        assert np.array_equal(at[:, 1], at[:, 2])
        assert np.array_equal(np.sort(at[:, [0, 1, 3]], axis=1), np.tile([0, 1, 2], (20, 1)))

    def test_all_orders_occur(self) -> None:
        at = reveal_passes(np.zeros((600, 4), bool), noise(600)[:, :3], COLUMN, 0, 3)
        share = (at[:, [0, 1, 3]] == 0).mean(axis=0)
        # Each of three columns is first in a third of the rows; 5 standard errors are 0.096.
        assert np.abs(share - 1 / 3).max() < 0.096

    @pytest.mark.parametrize("leading", [1, 3])
    def test_those_that_lead_are_first_and_all_else_is_in_any_order(self, leading: int) -> None:
        """The layout's first column is not the schema's."""
        column = (2, 1, 1, 0)
        at = reveal_passes(np.zeros((400, 4), bool), noise(400)[:, :3], column, leading, 3)
        turns = at[:, [3, 1, 0]]
        assert (turns[:, 2] == 0).all() if leading == 1 else (turns[:, 0] == 2).all()
        free = turns[:, :2] if leading == 1 else turns[:, 1:]
        # Either is first in half of 400 rows; 5 standard errors are 0.125.
        assert abs((free[:, 0] < free[:, 1]).mean() - 0.5) < 0.125

    def test_what_leads_and_is_given_leaves_the_others_as_they_are(self) -> None:
        observed = np.tile([True, False, False, False], (50, 1))
        free = reveal_passes(observed, noise(50)[:, :3], COLUMN, 0, 3)
        assert np.array_equal(reveal_passes(observed, noise(50)[:, :3], COLUMN, 1, 3), free)

    def test_none_where_nothing_is_missing(self) -> None:
        everything = np.ones((3, 4), bool)
        assert (reveal_passes(everything, noise(3)[:, :3], COLUMN, 0, 3) == -1).all()
        assert TeacherRows(np.zeros((3, 4), np.int32), everything, noise(3), LAYOUT, 3).done

    def test_steps_below_one_are_refused(self) -> None:
        with pytest.raises(ValueError, match="steps is 0; it must be at least 1"):
            reveal_passes(np.zeros((1, 4), bool), noise(1)[:, :3], COLUMN, 0, 0)


class TestSample:
    def test_a_pass_sees_what_earlier_passes_drew(self) -> None:
        seen: list[np.ndarray] = []

        def denoise(tokens, observed, uniform):  # type: ignore[no-untyped-def]
            seen.append(observed.copy())
            assert uniform.shape == (len(tokens), sum(SIZES))
            return np.full_like(tokens, observed.sum(axis=1, keepdims=True) + 1)

        nothing = np.zeros((1, 4), np.int32)
        drawn = sample_teacher(denoise, nothing, np.zeros((1, 4), bool), noise(1), LAYOUT, 3)
        assert [int(o.sum()) for o in seen] == sorted(int(o.sum()) for o in seen)
        assert len(seen) == 3
        assert (drawn > 0).all()

    def test_observed_slots_are_untouched_and_absent_ones_are_not_read(self) -> None:
        def denoise(tokens, observed, uniform):  # type: ignore[no-untyped-def]
            assert (tokens[~observed] == 0).all()
            return np.ones_like(tokens)

        tokens = np.full((5, 4), 9, np.int32)
        observed = np.tile([True, False, False, False], (5, 1))
        drawn = sample_teacher(denoise, tokens, observed, noise(5), LAYOUT, 3)
        assert np.array_equal(drawn, np.tile(np.array([9, 1, 1, 1], np.int32), (5, 1)))

    def test_rows_at_different_passes_share_one(self) -> None:
        """Together or apart, the same rows come out, whenever the second joins."""

        def denoise(tokens, observed, uniform):  # type: ignore[no-untyped-def]
            return (
                1 + (tokens * observed).sum(axis=1, keepdims=True) + 10 * uniform[:, :4]
            ).astype(np.int32)

        def rows(seed: int) -> TeacherRows:
            observed = np.random.default_rng(seed).random((3, 3)) < 0.3
            tokens = np.full((3, 4), seed, np.int32)
            return TeacherRows(tokens, observed[:, list(COLUMN)], noise(3, seed), LAYOUT, 3)

        expected = []
        for seed in (1, 2):
            alone = rows(seed)
            while not alone.done:
                alone.keep(denoise(*alone.next_pass()))
            expected.append(alone.tokens)

        first, second = rows(1), rows(2)
        first.keep(denoise(*first.next_pass()))
        while not (first.done and second.done):
            underway = [each for each in (first, second) if not each.done]
            parts = [each.next_pass() for each in underway]
            drawn = denoise(*(np.concatenate(part) for part in zip(*parts, strict=True)))
            cuts = np.cumsum([len(part[0]) for part in parts])[:-1]
            for each, part in zip(underway, np.split(drawn, cuts), strict=True):
                each.keep(part)
        assert np.array_equal(first.tokens, expected[0])
        assert np.array_equal(second.tokens, expected[1])


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
