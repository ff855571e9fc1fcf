"""The student's noise: where a row's and a draw's numbers lie, however many are made at once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from cascade_server.engines import noise as noise_module
from cascade_server.engines.native.library import load_library
from cascade_server.engines.noise import inside_bins, stream
from cascade_server.engines.student_noise import UNREAD, StudentNoise, blocks
from cascade_tables import TokenLayout
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

# Five columns, two of them of two slots, of which the third leads; noise has a number more than
# tokens a slot.
LAYOUT = TokenLayout(
    sizes=(3, 70, 16, 2, 66, 16, 600),
    column=(2, 0, 0, 1, 3, 3, 4),
    role=("value", "coarse", "fine", "value", "coarse", "fine", "value"),
    positions=(None,) * 7,
    leading=1,
)
NOISE = StudentNoise(LAYOUT)
# The same without a compiled library, where it was not built.
BOTH = pytest.mark.parametrize("noise", [NOISE, StudentNoise(LAYOUT, load_library())])
COLUMN_OF_NUMBER = np.repeat(np.array(LAYOUT.column), np.array(LAYOUT.sizes) + 1)


def by_definition(seed: int, first_row: int, draws: int, rows: int) -> NDArray[np.float32]:
    """All numbers of some rows, from the stream as it is written down: of a row, block after block
    of draws; in a block of at least 8, column after column as their slots are, and of each draw
    after draw."""
    every = stream(seed).random((first_row + rows) * draws * NOISE.width, np.float32)
    out = np.empty((rows * draws, NOISE.width), np.float32)
    at = first_row * draws * NOISE.width
    for row in range(rows):
        for start, size in blocks(draws):
            here = out[row * draws + start : row * draws + start + size]
            columns = dict.fromkeys(LAYOUT.column) if size >= 8 else [None]
            for column in columns:
                part = column == COLUMN_OF_NUMBER if column is not None else slice(None)
                count = here[:, part].size
                here[:, part] = every[at : at + count].reshape(size, -1)
                at += count
    return out


@st.composite
def asked(draw: st.DrawFn) -> tuple[int, int, NDArray[np.bool_], list[int]]:
    """First row, draws, which columns of each row are known, and where the draws are cut."""
    draws = draw(st.sampled_from([1, 2, 7, 8, 9, 32, 33, 47, 75]))
    known = draw(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4))
    total = draws * len(known)
    cuts = draw(st.lists(st.integers(0, total), max_size=3))
    return draw(st.integers(0, 5)), draws, np.array(known), sorted({0, total, *cuts})


@BOTH
@given(given=asked(), seed=st.integers(0, 2**64 - 1))
def test_each_number_that_is_read_is_its_own_however_draws_are_cut(
    noise: StudentNoise, given: tuple[int, int, NDArray[np.bool_], list[int]], seed: int
) -> None:
    first_row, draws, known, cuts = given
    observed = known[:, np.array(LAYOUT.column)]
    expected = by_definition(seed, first_row, draws, len(known))
    source = noise.source(seed, first_row, draws, observed)
    parts = [source((end - begin, NOISE.width)) for begin, end in pairwise(cuts)]
    made = np.concatenate(parts)
    read = ~known.repeat(draws, axis=0)[:, COLUMN_OF_NUMBER]
    np.testing.assert_array_equal(made[read], expected[read])
    assert made.min() >= 0
    assert made.max() < 1


@BOTH
@given(
    first_row=st.integers(0, 2**32 - 1),
    draws=st.sampled_from([1, 7, 4095, 4096]),
    seed=st.integers(0, 2**64 - 1),
    data=st.data(),
)
def test_rows_far_away(
    noise: StudentNoise, first_row: int, draws: int, seed: int, data: st.DataObject
) -> None:
    """Beyond what 64 bits count of numbers."""
    begin = data.draw(st.integers(max(0, draws - 9), draws - 1))
    observed = np.zeros((1, len(LAYOUT.sizes)), np.bool_)
    made, expected = np.empty((2, 1, noise.width), np.float32)
    noise.fill(made, seed, first_row, draws, observed, begin)
    NOISE.fill(expected, seed, first_row, draws, observed, begin)
    np.testing.assert_array_equal(made, expected)
    if draws < 8:
        start = (first_row * draws + begin) * noise.width
        np.testing.assert_array_equal(
            made[0], stream(seed, start=start).random(noise.width, np.float32)
        )


@BOTH
def test_of_many_draws_of_a_row_few_numbers_are_made_that_nobody_reads(
    noise: StudentNoise,
) -> None:
    observed = np.array([[True, True, True, False, True, True, True]])
    made = noise.source(1, 0, 32, observed)((32, NOISE.width))
    assert (made == UNREAD).sum() == 32 * (NOISE.width - 3)


@pytest.mark.parametrize(
    ("draws", "expected"),
    [
        (1, [(0, 1)]),
        (7, [(0, 7)]),
        (8, [(0, 8)]),
        (32, [(0, 32)]),
        (75, [(0, 32), (32, 32), (64, 8), (72, 3)]),
    ],
)
def test_draws_of_a_row_in_blocks(draws: int, expected: list[tuple[int, int]]) -> None:
    assert list(blocks(draws)) == expected


class TestInsideBins:
    """Where in its bin a number is: a row's and a column's own."""

    @given(st.integers(0, 9), st.integers(1, 12), st.sets(st.integers(0, 6), min_size=1))
    def test_a_place_depends_on_row_and_column_alone(
        self, first: int, rows: int, columns: set[int]
    ) -> None:
        every = inside_bins(5, 0, first + rows, 7)(range(7))
        some = sorted(columns)
        found = inside_bins(5, first, rows, 7)(some)
        np.testing.assert_array_equal(found, every[some, first:])

    @given(
        row=st.integers(0, 2**57),
        seed=st.integers(0, 2**64 - 1),
        columns=st.lists(st.integers(0, 99), unique=True),
    )
    def test_one_row_is_the_same_without_a_compiled_library(
        self, row: int, seed: int, columns: list[int]
    ) -> None:
        found = inside_bins(seed, row, 1, 100)(columns)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(noise_module, "load_library", lambda: "there is none")
            expected = inside_bins(seed, row, 1, 100)(columns)
        np.testing.assert_array_equal(found, expected)

    def test_many_rows_are_the_same_as_some(self) -> None:
        every, some = inside_bins(5, 0, 9000, 3)([1]), inside_bins(5, 8990, 10, 3)([1])
        assert every.shape == (1, 9000)
        np.testing.assert_array_equal(every[:, 8990:], some)

    def test_it_is_not_the_noise_of_the_draw(self) -> None:
        places = inside_bins(5, 0, 4, 4)(range(4)).ravel()
        assert not np.isin(places, stream(5).random(64)).any()
