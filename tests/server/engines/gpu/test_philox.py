"""A seed's noise, number by number: what a GPU's threads make is what NumPy makes."""

from __future__ import annotations

import numpy as np
import pytest
from cascade_server.engines.noise import stream
from cascade_server.engines.philox import BLOCK, Uniform, blocks, pass_over, position
from hypothesis import given
from hypothesis import strategies as st

SEEDS = st.integers(0, 2**63 - 1)


@given(SEEDS, st.integers(0, 2**64 - 1), st.integers(1, 5))
def test_blocks_are_numpys(seed: int, chunk: int, count: int) -> None:
    made = blocks(seed, chunk, np.arange(1, count + 1, dtype=np.uint64))
    expected = stream(seed, chunk).random(count * BLOCK, dtype=np.float32)
    assert np.array_equal(made.ravel(), expected)


@given(SEEDS, st.integers(0, 40), st.integers(0, 6), st.integers(1, 7))
def test_numbers_from_any_place_of_a_stream(seed: int, start: int, rows: int, width: int) -> None:
    expected = stream(seed, 3).random(start + rows * width, dtype=np.float32)[start:]
    made = Uniform(seed, 3, start, rows, width)
    assert np.array_equal(made.array().ravel(), expected)
    assert np.array_equal(made[1:3].array(), made.array()[1:3])


@given(SEEDS, st.integers(0, 40), st.integers(0, 200))
def test_a_stream_that_was_moved_on_goes_on_as_if_it_was_drawn_from(
    seed: int, before: int, count: int
) -> None:
    drawn, moved = stream(seed, 1), stream(seed, 1)
    for rng in (drawn, moved):
        rng.random(before, dtype=np.float32)
    drawn.random(count, dtype=np.float32)
    pass_over(moved, count)
    assert position(moved.bit_generator.state) == (seed, 1, before + count)
    # Places inside the bins are doubles, decoded after the draw.
    assert np.array_equal(moved.random(5), drawn.random(5))


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 64])
def test_where_a_stream_stands(count: int) -> None:
    rng = stream(5)
    rng.random(count, dtype=np.float32)
    assert position(rng.bit_generator.state) == (5, 0, count)
