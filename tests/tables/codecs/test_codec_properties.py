"""What holds for any table: infer, fit, encode and decode lose nothing but places inside bins.

Examples are the same in every run, so that a failure is a change in the code.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cascade_tables import (
    ABSENT,
    Codec,
    ColumnData,
    DataError,
    Frame,
    Kind,
    ValueNotAllowed,
    ValuesNotAllowed,
    infer_schema,
)
from cascade_tables.codecs.columns.binned_codec import FINE
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.releases import payments

checked = settings(max_examples=80, deadline=None, derandomize=True, database=None)

INT64 = st.integers(-(2**63), 2**63 - 1)
WHOLE = {
    "int8": st.integers(-128, 127),
    "uint16": st.integers(0, 2**16 - 1),
    "int64": st.one_of(INT64, st.integers(-3, 3), st.sampled_from([2**53, 2**53 + 1])),
    "uint64": st.integers(0, 2**63 - 1),
}
REAL = {
    "float32": st.floats(allow_infinity=False, width=32),
    "float64": st.one_of(
        st.floats(allow_infinity=False),
        st.integers(-1000, 1000).map(float),
        st.decimals(-99, 99, places=2).map(float),
    ),
}
TIMES = {
    ("s", None): st.integers(-(10**11), 10**11),
    ("us", "Europe/Berlin"): st.integers(-(10**17), 10**17),
    # 9,223,372,036 seconds after 1970 is as far as nanoseconds reach.
    ("ns", "UTC"): st.integers(-(9 * 10**15), 9 * 10**15).map(lambda us: us * 1000),
}


@st.composite
def few(draw: st.DrawFn, rows: int) -> pa.Array:
    """A column of any type whose values Hypothesis chooses, one by one."""
    kind = draw(st.sampled_from(["text", "bool", "null", "one", *WHOLE, *REAL, *TIMES]))
    if kind == "null":
        return pa.nulls(rows)
    if kind == "text":
        values: Any = st.text(max_size=4)
        dtype = pa.string()
    elif kind == "bool":
        values, dtype = st.booleans(), pa.bool_()
    elif kind == "one":
        values, dtype = st.just(draw(INT64)), pa.int64()
    elif kind in TIMES:
        values, dtype = TIMES[kind], pa.timestamp(*kind)
    else:
        values, dtype = {**WHOLE, **REAL}[kind], pa.type_for_alias(kind)
    if draw(st.booleans()):
        values = st.none() | values
    return pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), dtype)


def columns(rng: np.random.Generator, rows: int, scale: float, low: int, high: int) -> Any:
    """Columns with more distinct values than are listed: binned, or folded."""
    return {
        "real": rng.standard_normal(rows) * scale,
        "cents": np.round(rng.gamma(2.0, 40.0, rows), 2),
        "single": rng.standard_normal(rows).astype(np.float32),
        "whole": rng.integers(low, high, rows, endpoint=True),
        "tens": rng.integers(-100, 100, rows) * 10,
        "skewed": np.exp(rng.standard_normal(rows) * 12).clip(max=9e18).astype(np.int64),
        "time": (10**9 * rng.integers(0, 10**6, rows)).astype("datetime64[us]"),
        "text": np.array([f"c{int(x)}" for x in rng.exponential(60, rows)], object),
    }


ALL = columns(np.random.default_rng(0), 400, 1.0, -(2**63), 2**63 - 1)
TABLE = Frame.from_arrow(pa.table(ALL))
# Whole numbers as far apart as 64 bits have them: their step has 64 bits without a sign.
FAR = Frame.from_arrow(pa.table({"far": [-(2**63), 2**63 - 1], "kept": [True, False]}))


@st.composite
def many(draw: st.DrawFn, rows: int) -> pa.Array:
    """One of those columns, with a value that many rows share and NULLs."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = 10.0 ** draw(st.integers(-12, 300))
    low, high = sorted(draw(st.lists(INT64, min_size=2, max_size=2, unique=True)))
    values = columns(rng, rows, scale, low, high)[draw(st.sampled_from([*ALL]))]
    values[rng.random(rows) < draw(st.sampled_from([0.0, 0.0, 0.3, 0.9]))] = values[0]
    return pa.array(values, mask=rng.random(rows) < draw(st.sampled_from([0.0, 0.2])))


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    """A table of some of these columns, and one that is always worth modelling."""
    rows = draw(st.sampled_from([2, 3, 5, 12, 400, 400, 400]))
    column = few(rows) if rows < 400 else many(rows)
    drawn = draw(st.lists(column, min_size=2, max_size=5))
    names = draw(st.lists(st.text(), min_size=len(drawn), max_size=len(drawn), unique=True))
    table = dict(zip(names, drawn, strict=True))
    return Frame.from_arrow(pa.table({**table, "kept": [i % 2 == 0 for i in range(rows)]}))


def fitted(table: Frame) -> tuple[Codec, Frame]:
    """A codec, and the columns of the table that it models."""
    codec = Codec.fit(infer_schema(table), table)
    return codec, table.select(codec.schema.names)


def decoded(codec: Codec, table: Frame) -> Frame:
    return codec.decode(codec.encode(table), np.random.default_rng(0))


@checked
@given(frames())
@example(TABLE)
def test_rows_order_types_and_nulls_come_back(table: Frame) -> None:
    codec, table = fitted(table)
    back = decoded(codec, table)
    assert len(back) == len(table)
    assert back.to_arrow().schema.names == table.to_arrow().schema.names
    for name, column in table.columns.items():
        assert np.array_equal(back[name].null, column.null)
        folded = codec.schema[name].other is not None
        assert back[name].arrow_type == ("string" if folded else column.arrow_type)


@checked
@given(frames())
@example(TABLE)
def test_every_column_is_modelled_or_left_out_with_a_reason(table: Frame) -> None:
    schema = infer_schema(table)
    assert {*schema.names, *(d.name for d in schema.dropped)} == set(table.columns)
    assert all(dropped.reason for dropped in schema.dropped)
    modelled = schema.describe().split("\n\nleft out:")[0]
    assert len(modelled.split("\n")) == 2 + len(schema.names)


@checked
@given(frames())
@example(TABLE)
def test_listed_values_come_back_exactly_and_numbers_in_their_fine_bin(table: Frame) -> None:
    codec, table = fitted(table)
    tokens = codec.encode(table)
    back = codec.decode(tokens, np.random.default_rng(0))
    slot = 0
    for column, part in zip(codec.schema.columns, codec.columns, strict=True):
        before, after = table[column.name].present(), back[column.name].present()
        own = tokens[~table[column.name].null, slot : slot + len(part.sizes)]
        slot += len(part.sizes)
        if column.kind is Kind.CATEGORICAL:
            known = {*column.categories}
            before = np.array([v if v in known else column.other for v in before], object)
        in_bin = np.zeros(len(before), bool)
        if len(part.sizes) == 2:
            place = (own[:, 0] - column.nullable - len(column.point_masses)) * FINE + own[:, 1]
            in_bin = place >= 0
            edges = np.array(part.to_dict()["edges"])
            edges = edges.astype(after.dtype) if column.kind is Kind.DATETIME else edges
            place, inside = place[in_bin], after[in_bin]
            assert ((edges[place] <= inside) & (inside <= edges[place + 1])).all()
            assert ((edges[place] <= before[in_bin]) & (before[in_bin] <= edges[place + 1])).all()
        assert np.array_equal(after[~in_bin], before[~in_bin])


@checked
@given(frames(), st.integers(0, 2**32))
@example(TABLE, 0)
def test_any_tokens_decode_to_values_that_can_be_given(table: Frame, seed: int) -> None:
    """What a model draws is within bounds, has the source's types and can be asked about again."""
    codec, table = fitted(table)
    rng = np.random.default_rng(seed)
    sizes = codec.layout.sizes
    tokens = rng.integers(0, sizes, (50, len(sizes))).astype(np.int32)
    drawn = codec.decode(tokens, rng)
    drawn.to_arrow()
    values = {name: column.to_list() for name, column in drawn.columns.items()}
    encoded = codec.encode_partial(values, 50)
    assert encoded.observed.all()
    assert np.array_equal(codec.encode(drawn), encoded.tokens)


@checked
@given(frames())
@example(TABLE)
def test_a_table_is_encoded_as_its_values_from_outside_are(table: Frame) -> None:
    codec, table = fitted(table)
    values = {name: column.to_list() for name, column in table.columns.items()}
    whole = codec.encode(table)
    assert np.array_equal(codec.encode_partial(values, len(table)).tokens, whole)
    first = codec.encode_partial({name: column[:1] for name, column in values.items()}, 1)
    assert np.array_equal(first.tokens, whole[:1])
    assert (whole >= 0).all()
    assert (whole < np.array(codec.layout.sizes)).all()


@checked
@given(frames())
@example(TABLE)
@example(FAR)
def test_a_codec_comes_back_from_json_text(table: Frame) -> None:
    codec, table = fitted(table)
    back = Codec.from_dict(json.loads(json.dumps(codec.to_dict(), allow_nan=False)))
    assert back.schema == codec.schema
    assert back.schema.fingerprint == codec.schema.fingerprint
    assert back.to_dict() == codec.to_dict()
    tokens = codec.encode(table)
    assert np.array_equal(back.encode(table), tokens)
    assert decoded(back, table).to_rows() == decoded(codec, table).to_rows()


@checked
@given(
    st.lists(st.floats(), min_size=2, max_size=20),
    st.sampled_from([np.inf, -np.inf]),
    st.integers(0, 19),
)
@example([0.0, 0.0], np.inf, 0)
def test_infinity_is_refused_wherever_it_is(values: list[float], odd: float, at: int) -> None:
    values[at % len(values)] = odd
    table = Frame.from_arrow(pa.table({"ok": [i % 2 for i in range(len(values))], "odd": values}))
    if len({*values}) == 1:
        assert infer_schema(table).dropped[0].reason == f"constant: every value is {odd}"
    else:
        with pytest.raises(DataError, match=r"column 'odd' holds -?inf"):
            infer_schema(table)


@checked
@given(st.text(), st.characters(categories=["Cs"]), st.text())
def test_lone_surrogates_are_refused_wherever_they_are(before: str, odd: str, after: str) -> None:
    text = np.array([before + odd + after, "b"], object)
    with pytest.raises(DataError, match=r"column 'odd': .* that UTF-8 can hold"):
        infer_schema(Frame({"odd": ColumnData(text, np.zeros(2, bool))}))


@cache
def fitted_payments() -> Codec:
    table = payments()
    return Codec.fit(infer_schema(table), table)


CELLS = {
    "amount": st.one_of(st.floats(0, 500), st.integers(0, 500), st.just(-0.0)),
    "channel": st.sampled_from(["web", "app", "shop"]),
    "items": st.one_of(st.integers(1, 8), st.integers(1, 8).map(float)),
    "member": st.booleans(),
}


@st.composite
def from_outside(draw: st.DrawFn) -> tuple[dict[str, list[Any]], int]:
    """Columns of `payments`, some values absent or NULL, allowed or not."""
    rows = draw(st.integers(2, 12))
    odd: list[Any] = [ABSENT]
    if draw(st.booleans()):
        odd += [None, 9, "fax", True, float("nan"), [3]]
    if draw(st.booleans()):
        odd += [None, 9]
    columns = {
        name: draw(
            st.lists(
                st.one_of(cell, cell, cell, st.sampled_from(odd)), min_size=rows, max_size=rows
            )
        )
        for name, cell in CELLS.items()
        if draw(st.booleans())
    }
    return columns, rows


@checked
@given(from_outside(), st.booleans())
def test_rows_are_encoded_together_as_one_by_one(
    outside: tuple[dict[str, Any], int], strict: bool
) -> None:
    columns, rows = outside
    codec = fitted_payments()

    def attempt(given: dict[str, list[Any]], n: int) -> Any:
        try:
            return codec.encode_partial(given, n, strict)
        except ValueNotAllowed as exc:
            return exc

    one_by_one = [
        attempt({name: [values[row]] for name, values in columns.items()}, 1) for row in range(rows)
    ]
    together = attempt(columns, rows)
    refused = [found for found in one_by_one if isinstance(found, ValueNotAllowed)]
    if refused:
        assert isinstance(together, ValueNotAllowed)
        assert number_of(together) == sum(map(number_of, refused))
        return
    assert np.array_equal(together.tokens, np.concatenate([e.tokens for e in one_by_one]))
    assert np.array_equal(together.observed, np.concatenate([e.observed for e in one_by_one]))
    named = [
        found._replace(row=row)
        for row, each in enumerate(one_by_one)
        for found in (each.outside.first if each.outside else ())
    ]
    assert sorted(named) == sorted(together.outside.first if together.outside else ())


def number_of(refusal: ValueNotAllowed) -> int:
    """How many values it refuses."""
    return refusal.number if isinstance(refusal, ValuesNotAllowed) else 1
