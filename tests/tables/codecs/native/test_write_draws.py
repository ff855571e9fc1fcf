"""Several draws of one row in compiled code: what arrays make of them, column by column."""

from __future__ import annotations

import numpy as np
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.cells import FIELDS, NULL_STATE, PLACEHOLDERS
from cascade_tables import ABSENT, Codec, UnknownColumn
from cascade_tables.codecs.native.library import load_library
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests import ledgers
from tests.tables.codecs.native.wire_rows import (
    CODECS,
    cells,
    random_tokens,
    rows_of,
    wide,
    wire_row,
)

pytestmark = pytest.mark.skipif(
    isinstance(load_library(), str), reason="the compiled codec was not built"
)


def drawn_rows(codec: Codec, draws: int, seed: int) -> NDArray[np.int32]:
    return np.stack([random_tokens(codec, seed + draw) for draw in range(draws)])


@pytest.mark.parametrize("name", CODECS)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_written_as_they_are_decoded(name: str, data: st.DataObject) -> None:
    codec = CODECS[name]()
    found = data.draw(cells(codec))
    names = data.draw(st.lists(st.sampled_from(codec.schema.names), unique=True))
    seed, draws = data.draw(st.integers(0, 2**32)), data.draw(st.integers(1, 40))
    tokens = drawn_rows(codec, draws, seed)
    numbers = np.random.default_rng(seed).random((len(codec.columns), draws))
    written = codec.write_draws(
        tokens, lambda places: numbers[list(places)], names, wire_row(rows_of(found))
    )
    if written is None:
        return
    given_cells = {each: [value] for each, (value, _) in found.items() if value is not ABSENT}
    missing = [each for each in names if each not in given_cells]
    drawn = codec.decode_columns(tokens, lambda places: numbers[list(places)], missing, given_cells)
    expected = pb.Rows(count=draws)
    for each in names:
        if each in given_cells:
            values = given_cells[each] * draws
        else:
            column = drawn[each]
            plain = column.values.astype(np.int64) if column.values.dtype.kind == "M" else None
            values = (column.values if plain is None else plain).tolist()
            values = [None if no else v for v, no in zip(values, column.null, strict=True)]
        field = FIELDS[codec.kinds[each]]
        out = expected.columns.add(name=each)
        if None in values:
            out.states = bytes(NULL_STATE * (value is None) for value in values)
        getattr(out, field).values.extend(
            PLACEHOLDERS[field] if value is None else value for value in values
        )
    assert pb.Rows.FromString(written).SerializeToString(
        deterministic=True
    ) == expected.SerializeToString(deterministic=True)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("make", [wide, ledgers.codec])
def test_it_knows_most(make: object, seed: int) -> None:
    """Or else the above could be said of code that knows nothing: relations are of one table."""
    codec = wide() if make is wide else ledgers.codec()
    # Which of the rare categories it is, is drawn.
    names = [each for each in codec.schema.names if each not in ("shop", "city")]
    tokens = drawn_rows(codec, 12, seed)
    numbers = np.random.default_rng(seed).random((len(codec.columns), 12))
    row = wire_row(pb.Rows(count=1))
    assert codec.write_draws(tokens, lambda p: numbers[list(p)], names, row) is not None


def test_what_it_does_not_know() -> None:
    codec, row = wide(), wire_row(pb.Rows(count=1))
    tokens = drawn_rows(codec, 3, 0)
    with pytest.raises(UnknownColumn):
        codec.write_draws(tokens, lambda p: np.zeros((len(p), 3)), ["nope"], row)
    with pytest.raises(ValueError, match="tokens each"):
        codec.write_draws(tokens[:, :-1], lambda p: np.zeros((len(p), 3)), ["items"], row)
    tokens[1] = -1
    assert codec.write_draws(tokens, lambda p: np.zeros((len(p), 3)), ["items"], row) is None
    tokens[1] = 2**31 - 1
    assert codec.write_draws(tokens, lambda p: np.zeros((len(p), 3)), ["items"], row) is None
