"""Noise where the student looks at it, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from cascade_server.engines.runtime import Runtime
from cascade_server.terms import Tier
from cascade_server.triton_models.unseeded import UNREAD, Unseeded, runs
from cascade_tables import load_release
from numpy.typing import NDArray

BUNDLED = Path(__file__).parents[3] / "model_repository"


@pytest.fixture(scope="module", params=["credit", "adult"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return Runtime(load_release(BUNDLED, request.param, 1), tiers=(Tier.STUDENT,))


def lacking(runtime: Runtime, columns: Iterable[int], rows: int = 4) -> NDArray[np.bool_]:
    """What is known of rows that lack some columns."""
    observed = ~np.isin(runtime.layout.column, list(columns))
    return observed[None].repeat(rows, axis=0)


@pytest.mark.parametrize("columns", [[0], [1, 2], [0, 3, 4, 7], [5], []])
def test_the_student_reads_no_other(runtime: Runtime, columns: list[int]) -> None:
    """With any other numbers in the places that are not made it draws the same."""
    observed, unseeded = lacking(runtime, columns), Unseeded(runtime)
    noise = unseeded.student(observed)
    made = (noise != UNREAD).any(axis=0)
    assert made.any() == bool(columns)
    assert not made.all()
    tokens = np.zeros(observed.shape, np.int32)
    drawn = runtime.draw_student(tokens, observed, noise)
    other = np.where(made, noise, np.random.default_rng(1).random(noise.shape, np.float32))
    np.testing.assert_array_equal(runtime.draw_student(tokens, observed, other), drawn)


def test_rows_that_lack_different_columns_each_have_theirs(runtime: Runtime) -> None:
    """What one row of a batch lacks is made for all of it."""
    observed = np.concatenate([lacking(runtime, [at], rows=1) for at in range(3)])
    noise = Unseeded(runtime).student(observed)
    slots = np.isin(runtime.layout.column, range(3))
    widths = np.array(runtime.layout.sizes) + 1
    of_slot = np.repeat(np.arange(len(widths)), widths)
    np.testing.assert_array_equal((noise != UNREAD).all(axis=0), slots[of_slot])


def test_every_call_gives_other_numbers(runtime: Runtime) -> None:
    for columns in ([0], range(len(runtime.release.codec.columns))):
        observed, unseeded = lacking(runtime, columns, rows=64), Unseeded(runtime)
        first, second = unseeded.student(observed), unseeded.student(observed)
        made = first != UNREAD
        assert (first[made] != second[made]).mean() > 0.99
        assert 0.45 < first[made].mean() < 0.55
        assert len(np.unique(first, axis=0)) == 64


@pytest.mark.parametrize(
    ("places", "expected"),
    [([], []), ([0], [(0, 1)]), ([0, 1, 2], [(0, 3)]), ([1, 3, 4, 9], [(1, 2), (3, 5), (9, 10)])],
)
def test_runs(places: list[int], expected: list[tuple[int, int]]) -> None:
    assert list(runs(places)) == expected
