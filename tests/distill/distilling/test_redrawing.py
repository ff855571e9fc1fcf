"""Drawing every column of a row once more, with denoisers whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cascade_distill.distilling.redrawing import PART, redrawn, redrawn_values
from cascade_tables import Codec, Frame, TokenLayout, find_relations, infer_schema
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
    tokens: Tokens, layout: TokenLayout = LAYOUT, seed: int = 1
) -> tuple[Tokens, list[NDArray[np.bool_]]]:
    """The rows when every hidden slot gets the token of another column, and what was hidden."""
    hidden: list[NDArray[np.bool_]] = []

    def denoise(given: Tokens, observed: NDArray[np.bool_], noise: NDArray[np.float32]) -> Tokens:
        assert noise.shape == (len(given), sum(LAYOUT.sizes))
        hidden.append(~observed)
        neighbour = np.where(observed[:, 0], given[:, 0], given[:, 3])
        drawn = neighbour[:, None] % np.array(LAYOUT.sizes)
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


def test_a_relation_is_found_as_often_as_it_was_learnt() -> None:
    """Of two numbers that are equal in half of the rows, drawn by who knows exactly that."""
    rng = np.random.default_rng(5)
    first = rng.integers(100, 90_000, 4000)
    second = np.where(rng.random(4000) < 0.5, first, rng.integers(100, 90_000, 4000))
    frame = Frame.from_pandas(pd.DataFrame({"bill": first / 100, "paid": second / 100}))
    plain = infer_schema(frame)
    codec = Codec.fit(replace(plain, relations=find_relations(frame, plain)), frame)
    assert {mark.column for mark in codec.layout.marks} == {0, 1}

    def denoise(given: Tokens, observed: NDArray[np.bool_], noise: NDArray[np.float32]) -> Tokens:
        drawn = codec.encode(frame)[rng.integers(0, len(frame), len(given))]
        for mark in codec.layout.marks:
            stands = rng.random(len(given)) < 0.5
            drawn[:, mark.slot] = np.where(stands, mark.token, drawn[:, mark.slot])
        return np.where(observed, given, drawn).astype(np.int32)

    before = codec.encode(frame)
    after = redrawn_values(denoise, before, codec, np.random.default_rng(1))
    assert after.shape == (4000, codec.learnable_width)
    assert after[:, -1].mean() == pytest.approx(0.5, abs=0.04)
    assert (after[:, : len(codec.layout.sizes)] < np.array(codec.layout.sizes)).all()


def test_columns_that_lead_stay() -> None:
    before = rows(100)
    after, hidden = again(before, replace(LAYOUT, leading=1))
    assert np.array_equal(after[:, 0], before[:, 0])
    assert not any(mask[:, 0].any() for mask in hidden)
