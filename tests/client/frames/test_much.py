"""What grows with a frame grows no faster than the frame: comparisons are counted, not seconds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cascade_client import ColumnDescription
from cascade_client.frames.draws import draws_of
from cascade_client.messages.given import read
from cascade_client.messages.rows import pack
from cascade_client.testing import FakeServer, FakeTable
from cascade_proto import synthesis_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from tests.client.counting import Compared, compared

MANY = 200


def columns_of(names: list[str]) -> list[ColumnDescription]:
    return [ColumnDescription(name, "continuous", True, "float64", 0, 1) for name in names]


def frame_of(names: list[str]) -> pd.DataFrame:
    """A row without a hole, and one of nothing else."""
    return pd.DataFrame(
        [[1.0] * len(names), [None] * len(names)], columns=pd.Index(names, dtype=object)
    )


class TestColumns:
    """The names of a frame's columns."""

    def test_of_the_table(self) -> None:
        names = compared("c", MANY)
        with FakeServer({"t": FakeTable(columns=columns_of(names))}).client() as client:
            frame = frame_of(names)
            assert client.complete(frame, table="t").holes == MANY
        assert Compared.times < 100 * MANY

    def test_that_the_table_has_not(self) -> None:
        frame = frame_of(["a", *compared("other", MANY)])
        with FakeServer({"t": FakeTable(columns=columns_of(["a"]))}).client() as client:
            answer = client.complete(frame, table="t")
        assert len(answer.provenance.notices) == MANY
        assert Compared.times < 100 * MANY

    def test_one_that_comes_twice(self) -> None:
        names = compared("c", MANY)
        frame = frame_of([*names, names[-1]])
        with pytest.raises(Exception, match=f"two columns 'c{MANY - 1}'"):
            read(frame)
        assert Compared.times < 100 * MANY


def test_numbers_that_are_categories() -> None:
    column = ColumnDescription(
        "code", "categorical", False, "string", categories=tuple(compared("", MANY))
    )
    rows = pb.Rows()
    pack(read([{"code": float(number)} for number in range(MANY)]), {"code": column}, rows)
    assert list(rows.columns[0].strings.values) == [str(number) for number in range(MANY)]
    assert Compared.times < 10 * MANY


CELLS = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=4, max_size=4)


@given(st.lists(CELLS, min_size=1, max_size=6))
def test_the_most_frequent_of_draws(holes: list[list[Any]]) -> None:
    """Of several it is the one that was drawn first, of any hole."""
    (cells,) = read([{"x": cell} for hole in holes for cell in hole]).cells
    drawn = draws_of(ColumnDescription("x", "categorical", True, "string"), cells, 4)
    first = list(dict.fromkeys(cells.observed))
    centre, null = drawn.centre()
    for place, hole in enumerate(holes):
        times = Counter(cell for cell in hole if cell is not None)
        assert null[place] == (not times)
        if times:
            best = max(times, key=lambda cell: (times[cell], -first.index(cell)))
            assert centre[place] == best
            assert drawn.distance()[place] == pytest.approx(1 - times[best] / times.total())
    assert np.isfinite(drawn.distance()).all()
