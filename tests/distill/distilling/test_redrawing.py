"""Drawing every column of a row once more, with denoisers whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cascade_distill.distilling.redrawing import PART, redrawn
from cascade_tables import TokenLayout
from cascade_tables.codecs.layout import Mark
from numpy.typing import NDArray

# Three columns: a category of 8, a number of a coarse and a fine slot, and a category of 8.
LAYOUT = TokenLayout(
    sizes=(8, 8, 4, 8),
    column=(0, 1, 1, 2),
    role=("value", "coarse", "fine", "value"),
    positions=(None, None, None, None),
)
Tokens = NDArray[np.int32]


def rows(count: int, seed: int = 0) -> Tokens:
    return np.random.default_rng(seed).integers(0, 4, (count, 4)).astype(np.int32)


def again(
    tokens: Tokens, layout: TokenLayout = LAYOUT, seed: int = 1, number: int | None = None
) -> tuple[Tokens, list[NDArray[np.bool_]]]:
    """The rows when every hidden slot gets the token of another column, a coarse one `number` if
    that is said, and what was hidden."""
    hidden: list[NDArray[np.bool_]] = []

    def denoise(given: Tokens, observed: NDArray[np.bool_], noise: NDArray[np.float32]) -> Tokens:
        assert noise.shape == (len(given), sum(LAYOUT.sizes))
        hidden.append(~observed)
        neighbour = np.where(observed[:, 0], given[:, 0], given[:, 3])
        drawn = neighbour[:, None] % np.array(LAYOUT.sizes)
        if number is not None:
            drawn[:, 1] = number
        return np.where(observed, given, drawn).astype(np.int32)

    return redrawn(denoise, tokens, layout, np.random.default_rng(seed)), hidden


def test_what_did_not_fit_fits_afterwards() -> None:
    """The first column says what all others are, and is itself what the last one is."""
    before = rows(3000)
    after, _ = again(before)
    assert (before[:, 0] == before[:, 3]).mean() < 0.3
    assert (after[:, 0] == after[:, 3]).all()


def test_each_column_is_drawn_once_given_all_others() -> None:
    _, hidden = again(rows(50))
    times = np.sum(hidden, axis=0)
    assert (times == 1).all()
    columns = np.array([[mask[:, 0], mask[:, 1], mask[:, 3]] for mask in hidden])
    assert (columns.sum(axis=1) == 1).all()
    assert all((mask[:, 1] == mask[:, 2]).all() for mask in hidden)


def test_rows_have_orders_of_their_own() -> None:
    _, hidden = again(rows(200))
    shares = np.array([[mask[:, slot].mean() for slot in (0, 1, 3)] for mask in hidden])
    assert ((shares > 0.2) & (shares < 0.5)).all()


def test_the_same_generator_gives_the_same_rows_and_what_was_given_stays() -> None:
    given = rows(2 * PART + 3)
    kept = given.copy()
    assert np.array_equal(again(given)[0], again(given)[0])
    assert np.array_equal(given, kept)
    assert not np.array_equal(again(given)[0], again(given, seed=2)[0])


def test_no_rows() -> None:
    assert again(rows(0))[0].shape == (0, 4)


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    redrawn(
        lambda given, *_: given,
        rows(PART + 5),
        LAYOUT,
        np.random.default_rng(0),
        lambda *done: told.append(done),
    )
    assert told == [(PART, PART + 5), (PART + 5, PART + 5)]


@pytest.mark.parametrize("marked", [True, False])
def test_what_a_mark_is_computed_of_stays_while_it_stands(marked: bool) -> None:
    mark = Mark(relation=0, column=1, slot=1, token=7, others=(2,), rough=())
    layout = replace(LAYOUT, marks=(mark,))
    before = rows(100)
    before[:, 1] = 7 if marked else 1
    after, hidden = again(before, layout, number=7 if marked else 1)
    times = sum(int(mask[:, 3].sum()) for mask in hidden)
    assert times == (0 if marked else 100)
    assert np.array_equal(after[:, 3], before[:, 3]) == marked


def test_columns_that_lead_stay() -> None:
    before = rows(100)
    after, hidden = again(before, replace(LAYOUT, leading=1))
    assert np.array_equal(after[:, 0], before[:, 0])
    assert not any(mask[:, 0].any() for mask in hidden)
