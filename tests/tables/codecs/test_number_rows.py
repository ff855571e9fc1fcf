"""All columns at once give what each column's codec gives by itself."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cascade_proto.cells import ABSENT_STATE, NULL_STATE
from cascade_tables import ABSENT, Codec, Kind, ValueNotAllowed, load_release
from cascade_tables.codecs.columns.outside import Outside
from cascade_tables.codecs.number_rows import MANY_ROWS
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.releases import every_kind

NAN = math.nan
BUNDLED = Path(__file__).parents[3] / "model_repository"
TABLES = ("every kind", "credit", "adult")


@cache
def codec_of(table: str) -> Codec:
    return every_kind() if table == "every kind" else load_release(BUNDLED, table, 1).codec


def value_of(codec: Codec, column: int, number: float) -> Any:
    """The Python value that a number stands for, or one that no column takes."""
    labels = codec.rows.labels[column]
    if codec.schema.columns[column].kind is Kind.CONTINUOUS:
        return number
    if number % 1 != 0 or math.isinf(number):
        return "no number"
    if labels:
        return labels[int(number)] if 0 <= number < len(labels) else "no label"
    return int(number)


def probes(codec: Codec, at: int) -> NDArray[np.float64]:
    """Numbers at a column's edges, beside them, between them, and beyond."""
    column, own = codec.schema.columns[at], codec.columns[at]
    known = [float(number) for number in getattr(own, "edges", [])]
    known += [float(mass) for mass in column.point_masses]
    known += [float(v) for v in own.listed or () if isinstance(v, int | float)]
    known += [*map(float, range(len(codec.rows.labels[at])))]
    known += [float(b) for b in (column.minimum, column.maximum) if b is not None]
    points = np.array(known)
    near = [points + d for d in (0, 1, -1, 0.5, 1e-3)]
    near += [np.nextafter(points, math.inf), np.nextafter(points, -math.inf)]
    near.append(np.array([math.inf, -math.inf, 1e300, -1e300, -0.0]))
    return np.unique(np.concatenate(near))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("rows", [1, MANY_ROWS])
class TestEncode:
    """Tokens of a number are its codec's, or are said to be unknown."""

    def test_of_every_number_of_a_column(self, table: str, rows: int) -> None:
        codec, odd = codec_of(table), 0
        for at, own in enumerate(codec.columns):
            slots = np.flatnonzero(np.array(codec.layout.column) == at)
            looked_up = 0
            numbers = probes(codec, at)
            # In batches of some rows, the last of which is filled with its own first.
            numbers = np.resize(numbers, -(-len(numbers) // rows) * rows)
            for begin in range(0, len(numbers), rows):
                batch = numbers[begin : begin + rows]
                values = np.full((len(batch), len(codec.columns)), NAN)
                values[:, at] = batch
                tokens, found = codec.rows.encode(values)
                unknown = np.zeros(values.shape, np.bool_) if found is None else found
                assert not unknown[:, np.arange(len(codec.columns)) != at].any()
                for row, number in enumerate(batch.tolist()):
                    outside: list[Outside] = []
                    expected = own.encode_value(value_of(codec, at, number), outside)
                    if unknown[row, at]:
                        assert outside or not codec.rows.exact[at]
                        odd += 1
                        continue
                    assert not outside, (own.column.name, number)
                    looked_up += 1
                    assert tokens[row, slots].tolist() == list(expected), (own.column.name, number)
            assert looked_up > 1 or own.column.name == "big", own.column.name
        assert odd > 100

    def test_where_there_is_no_number(self, table: str, rows: int) -> None:
        codec = codec_of(table)
        tokens, unknown = codec.rows.encode(np.full((rows, len(codec.columns)), NAN))
        assert not tokens.any()
        assert unknown is None

    def test_known_columns_are_known_in_all_of_their_slots(self, table: str, rows: int) -> None:
        codec = codec_of(table)
        known = np.random.default_rng(rows).random((rows, len(codec.columns))) < 0.5
        np.testing.assert_array_equal(
            codec.rows.observed(known), known[:, np.array(codec.layout.column)]
        )


@st.composite
def tokens_of(draw: st.DrawFn) -> tuple[Codec, NDArray[np.int32], list[str], int]:
    """A table's codec, tokens of some rows, some of its columns, and a seed."""
    codec = codec_of(draw(st.sampled_from(TABLES)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = draw(st.integers(1, 5))
    sizes = codec.layout.sizes
    tokens = np.stack([rng.integers(0, size, rows) for size in sizes], axis=1).astype(np.int32)
    names = draw(st.lists(st.sampled_from(codec.schema.names), unique=True))
    return codec, tokens, names, draw(st.integers(0, 2**32))


@settings(deadline=None)
@given(tokens_of())
def test_columns_are_decoded_together_as_one_by_one(
    case: tuple[Codec, NDArray[np.int32], list[str], int],
) -> None:
    codec, tokens, names, seed = case
    together = codec.decode_columns(tokens, np.random.default_rng(seed), names)
    assert list(together) == names
    rng = np.random.default_rng(seed)
    for name, data in together.items():
        at = codec.schema.names.index(name)
        slots = np.flatnonzero(np.array(codec.layout.column) == at)
        own = codec.columns[at]
        uniform = rng.random(len(tokens)) if own.listed is None else None
        alone = own.decode(tokens[:, slots], uniform)
        assert data.values.dtype == alone.values.dtype
        assert data.arrow_type == alone.arrow_type
        np.testing.assert_array_equal(data.values, alone.values)
        np.testing.assert_array_equal(data.null, alone.null)


@settings(deadline=None)
@given(tokens_of())
def test_a_row_is_decoded_as_a_table_of_one(
    case: tuple[Codec, NDArray[np.int32], list[str], int],
) -> None:
    codec, tokens, names, seed = case
    rngs = [np.random.default_rng(seed) for _ in range(2)]
    row = codec.decode_row(tokens[0].tolist(), rngs[0], names)
    table = codec.decode_columns(tokens[:1], rngs[1], names)
    expected = {}
    for name, data in table.items():
        whole = codec.schema[name].kind is Kind.DATETIME
        (value,) = (data.values.astype(np.int64) if whole else data.values).tolist()
        expected[name] = None if data.null[0] else value
    assert row == expected
    assert [*map(type, row.values())] == [*map(type, expected.values())]
    # As many numbers were taken, so that whoever goes on with them goes on alike.
    assert rngs[0].random() == rngs[1].random()


@settings(deadline=None)
@given(tokens_of())
def test_numbers_are_the_columns(case: tuple[Codec, NDArray[np.int32], list[str], int]) -> None:
    codec, tokens, names, seed = case
    columns = np.array(sorted(codec.schema.names.index(name) for name in names), np.intp)
    ordered = [codec.schema.names[column] for column in columns.tolist()]
    binned = columns[codec.rows.binned[columns]].tolist()
    rng = np.random.default_rng(seed)

    def uniform(asked: NDArray[np.intp]) -> NDArray[np.float64]:
        assert asked.tolist() == binned
        return rng.random((len(asked), len(tokens)))

    shape = len(tokens), len(codec.columns)
    where = np.zeros(shape, np.bool_)
    where[:, columns] = True
    numbers, states = np.full(shape, 0.25), np.full(shape, ABSENT_STATE, np.uint8)
    codec.rows.decode(tokens, numbers, states, where, uniform)
    assert (numbers[~where] == 0.25).all()
    assert (states[~where] == ABSENT_STATE).all()
    table = codec.decode_columns(tokens, np.random.default_rng(seed), ordered)
    for place, name in zip(columns.tolist(), ordered, strict=True):
        expected = codec.rows.to_numbers(codec.schema.names.index(name), table[name])
        np.testing.assert_array_equal(numbers[:, place], expected)
        np.testing.assert_array_equal(states[:, place] == NULL_STATE, table[name].null)


@settings(deadline=None)
@given(st.data())
def test_rows_from_outside_are_encoded_together_as_one_by_one(data: st.DataObject) -> None:
    """Values of the table, NULL, absent, never seen, and such that nobody can read."""
    codec = codec_of(data.draw(st.sampled_from(TABLES)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    rows = data.draw(st.sampled_from([2, 3, MANY_ROWS]))
    sizes = codec.layout.sizes
    tokens = np.stack([rng.integers(0, size, rows) for size in sizes], axis=1).astype(np.int32)
    columns: dict[str, list[Any]] = {}
    odd = [ABSENT, None, 0, 1.5, True, "never seen", 2**70, NAN, np.float64(1), [1], b"x"]
    for name, column in codec.decode(tokens, rng).columns.items():
        values = (
            column.values.astype(np.int64) if column.values.dtype.kind == "M" else column.values
        )
        cells: list[Any] = [
            None if null else value
            for value, null in zip(values.tolist(), column.null.tolist(), strict=True)
        ]
        for row in rng.integers(0, rows, int(rng.integers(0, 2))).tolist():
            cells[row] = ABSENT if rng.random() < 0.9 else odd[int(rng.integers(len(odd)))]
        columns[name] = cells

    def attempt(given: dict[str, list[Any]], n: int) -> Any:
        try:
            return codec.encode_partial(given, n)
        except ValueNotAllowed as exc:
            return exc

    alone = [attempt({n: [v[row]] for n, v in columns.items()}, 1) for row in range(rows)]
    together = attempt(columns, rows)
    refused = [each for each in alone if isinstance(each, ValueNotAllowed)]
    if refused:
        assert isinstance(together, ValueNotAllowed)
        assert {(each.column, each.allowed) for each in refused} >= {
            (together.column, together.allowed)
        }
        return
    for row, expected in enumerate(alone):
        np.testing.assert_array_equal(together.tokens[row : row + 1], expected.tokens)
        np.testing.assert_array_equal(together.observed[row : row + 1], expected.observed)
    named = [
        found._replace(row=row)
        for row, each in enumerate(alone)
        for found in (each.outside.first if each.outside else ())
    ]
    assert sorted(named) == sorted(together.outside.first if together.outside else ())
