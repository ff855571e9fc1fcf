"""What always holds is kept within what was learnt, and within the types of the source, unless
given numbers ask for more: then the types have room for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cascade_tables import Codec, Frame, measure_formula
from numpy.typing import NDArray

from tests.tables.codecs.following.far_tables import bytes_codec


def tokens_of(codec: Codec, rows: int, seed: int) -> NDArray[np.int32]:
    """Any tokens but marks, as a network that has learnt nothing draws them."""
    sizes = np.array(codec.layout.sizes)
    return np.random.default_rng(seed).integers(0, sizes, (rows, len(sizes)), np.int32)


def violations(codec: Codec, frame: Frame) -> dict[str, int]:
    found = {}
    for relation in codec.schema.relations:
        if relation.always:
            measured = measure_formula(relation.formula, relation.decimals, frame)
            found[str(relation.formula)] = measured.violations
    return found


def out_of_bounds(codec: Codec, frame: Frame) -> dict[str, int]:
    return {
        column.name: int(((values < column.minimum) | (values > column.maximum)).sum())
        for column in codec.schema.columns
        for values in [frame[column.name].values]
    }


@pytest.mark.parametrize("rows", [5, 4_000])
def test_rows_of_which_nothing_is_given_are_within_all_bounds(rows: int) -> None:
    """Of few rows and of many, which are solved in two ways."""
    codec = bytes_codec()
    assert sum(relation.always for relation in codec.schema.relations) == 3
    drawn = [
        codec.decode(tokens_of(codec, rows, seed), np.random.default_rng(seed))
        for seed in range(4_000 // rows if rows > 100 else 100)
    ]
    for frame in drawn:
        assert set(out_of_bounds(codec, frame).values()) == {0}
        assert set(violations(codec, frame).values()) == {0}
        types = frame.to_arrow().schema
        assert [types.field(name).type for name in ("a", "sum", "all")] == [
            pa.uint8(),
            pa.uint8(),
            pa.int16(),
        ]


def test_a_given_number_is_kept_within_bounds_where_the_others_have_room() -> None:
    codec = bytes_codec()
    rows = 500
    given: dict[str, list[Any]] = {"a": [250] * rows}
    names = [name for name in codec.schema.names if name != "a"]
    drawn = codec.decode_columns(tokens_of(codec, rows, 7), np.random.default_rng(7), names, given)
    assert (drawn["b"].values <= 5).all()
    assert (drawn["sum"].values == 250 + drawn["b"].values).all()


def test_given_numbers_that_ask_for_more_get_it() -> None:
    """In a type that holds it, which is the same in each part of the rows."""
    codec = bytes_codec()
    types = set()
    for a, b in ((200, 200), (1, 1)):
        given: dict[str, list[Any]] = {"a": [a] * 3, "b": [b] * 3}
        drawn = codec.decode_columns(
            tokens_of(codec, 3, 8), np.random.default_rng(8), ["sum", "all", "net"], given
        )
        table = Frame(drawn).to_arrow()
        assert table["sum"].to_pylist() == [a + b] * 3
        types.add(tuple(table.schema.types))
    assert types == {(pa.int64(), pa.int16(), pa.float64())}


def test_a_type_that_has_room_for_all_sums_stays() -> None:
    codec = bytes_codec()
    drawn = codec.decode_columns(
        tokens_of(codec, 3, 9), np.random.default_rng(9), ["all"], {"c": [7] * 3}
    )
    assert Frame(drawn).to_arrow()["all"].type == pa.int16()
