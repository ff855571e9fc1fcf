"""What a release holds of numbers: bins that begin between the values of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cascade_tables import Codec, ColumnOverride, Frame, Kind, infer_schema
from cascade_tables.codecs.columns.binned_codec import BinnedCodec
from numpy.typing import NDArray

RNG = np.random.default_rng(4)
COLUMNS: dict[str, Any] = {
    "whole numbers": RNG.choice(10**9, 20_000, replace=False),
    "few of them": RNG.choice(10**9, 300, replace=False),
    "cents": np.round(RNG.lognormal(14, 1.5, 20_000), 2),
    "reals": RNG.normal(size=5_000),
    "narrow": pa.array(RNG.normal(size=5_000), pa.float32()),
    "days": pa.array(RNG.integers(-400_000, 400_000, 3_000), pa.int32()).cast(pa.date32()),
    "in tens": 10 * RNG.choice(10**7, 2_000, replace=False) + 3,
    "widest": RNG.integers(-(2**63), 2**63 - 1, 3_000),
    "with heaps": np.where(RNG.random(5_000) < 0.3, 9.99, RNG.normal(size=5_000)),
}


def learnt(values: Any) -> tuple[BinnedCodec, Codec, Frame]:
    """A column's codec; of whole numbers, whatever they look like."""
    frame = Frame.from_arrow(pa.table({"a": values}))
    kind = Kind.INTEGER if frame["a"].values.dtype.kind == "i" else None
    codec = Codec.fit(infer_schema(frame, {"a": ColumnOverride(kind=kind)}), frame)
    binned = codec.columns[0]
    assert isinstance(binned, BinnedCodec)
    return binned, codec, frame


def plain(frame: Frame) -> NDArray[Any]:
    values = frame["a"].values
    return values.astype(np.int64) if values.dtype.kind == "M" else values


@pytest.mark.parametrize("name", COLUMNS)
def test_but_for_the_bounds_hardly_any_is_one_row_s(name: str) -> None:
    """Where two rows' values are next to each other there is nothing between them."""
    binned, _, frame = learnt(COLUMNS[name])
    values, counts = np.unique(plain(frame), return_counts=True)
    single = set(values[counts < 5].tolist()) - {binned.edges[0], binned.edges[-1]}
    assert len(single & set(binned.edges)) < 0.03 * len(binned.edges)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_bin_has_the_rows_that_it_would_have_had(name: str) -> None:
    binned, _, frame = learnt(COLUMNS[name])
    values = np.sort(plain(frame))
    rest = values[~np.isin(values, binned.column.point_masses)]
    at = np.round(np.linspace(0, len(rest) - 1, len(binned.edges))).astype(int)
    last = len(at) - 1
    expected, found = (
        np.minimum(np.searchsorted(edges, rest, "right"), last)
        for edges in (rest[at], np.array(binned.edges))
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", COLUMNS)
def test_what_is_drawn_is_in_its_bin_and_as_fine_as_the_column(name: str) -> None:
    binned, codec, frame = learnt(COLUMNS[name])
    tokens = codec.encode(frame)
    drawn = codec.decode(tokens, np.random.default_rng(0))
    column, values = binned.column, plain(drawn)
    assert column.minimum is not None
    assert column.maximum is not None
    if column.step is not None:
        rest = {value % column.step for value in values.tolist()}
        assert rest == {int(column.minimum) % column.step}
    elif column.decimals is not None:
        np.testing.assert_array_equal(values, np.round(values, column.decimals))
    assert column.minimum <= values.min() <= values.max() <= column.maximum
    # A number that is rounded may be the next bin's first.
    assert (codec.encode(drawn) == tokens).all(axis=1).mean() > 0.97


def test_values_that_many_rows_have_stay() -> None:
    binned, _, frame = learnt(np.repeat(np.arange(200) * 1_000_003, 20))
    assert set(binned.edges) <= set(frame["a"].values.tolist())
