"""Rows of all kinds of columns as they lie in a message, and the codecs of their tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.cells import FIELDS, NULL_CELL, PLACEHOLDERS
from cascade_tables import (
    ABSENT,
    Codec,
    ColumnOverride,
    Frame,
    RareRule,
    WireRow,
    find_relations,
    infer_schema,
)
from cascade_tables.codecs.native.row_codec import RowCodec
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests import ledgers
from tests.releases import every_kind
from tests.tables.codecs.following.far_tables import twins

ROWS = 2_000


def everything() -> Frame:
    """Columns of every kind, listed and binned, some with NULL, point masses or decimals, and two
    whose rare categories share a token."""
    rng = np.random.default_rng(0)

    def some_null(values: Sequence[Any]) -> list[Any]:
        is_null = rng.random(ROWS) < 0.1
        return [None if null else value for value, null in zip(values, is_null, strict=True)]

    cents = np.round(rng.gamma(2.0, 40.0, ROWS), 2)
    shops = [f"shop {rank}" for rank in rng.zipf(1.6, ROWS) % 200]
    moments = 1_700_000_000_000_000 + rng.integers(0, 10**15, ROWS)
    columns = {
        "channel": some_null(
            [["web", "shop", "телефон", ""][at] for at in rng.integers(0, 4, ROWS)]
        ),
        "member": some_null((rng.random(ROWS) < 0.5).tolist()),
        "fraud": (rng.random(ROWS) < 0.1).tolist(),
        "items": rng.integers(-3, 9, ROWS).tolist(),
        "steps": some_null((rng.integers(0, 5, ROWS) * 2.5 - 2.5).tolist()),
        "amount": np.where(rng.random(ROWS) < 0.4, 0.0, cents).tolist(),
        "score": some_null(rng.normal(size=ROWS).tolist()),
        "count": some_null((rng.integers(0, 10**6, ROWS) * 5).tolist()),
        "vast": rng.integers(-(2**62), 2**62, ROWS).tolist(),
        "at": pa.array(moments.tolist(), pa.timestamp("us")),
        "shop": shops,
        "city": shops[::-1],
    }
    return Frame.from_arrow(pa.table(columns))


@cache
def wide() -> Codec:
    """Its codec: one column folds into groups, and one into a single one."""
    frame = everything()
    few = {"shop": ColumnOverride(max_categories=20), "city": ColumnOverride(max_categories=4)}
    return Codec.fit(infer_schema(frame, few, rule=RareRule(min_count=5)), frame)


@cache
def counts() -> Codec:
    """Whole numbers and dates alone, of which some are equal or add up in many rows, and zeros."""
    rng = np.random.default_rng(3)
    ordered, returned = rng.integers(0, 900, (2, ROWS))
    kept = np.where(rng.random(ROWS) < 0.6, ordered - returned, rng.integers(-900, 900, ROWS))
    paid = np.where(rng.random(ROWS) < 0.4, ordered, rng.integers(0, 900, ROWS))
    opened = 19_000 + rng.integers(0, 900, ROWS)
    days = np.where(rng.random(ROWS) < 0.5, rng.integers(0, 400, ROWS), 7)
    closed = opened + np.where(rng.random(ROWS) < 0.7, days, rng.integers(0, 400, ROWS))
    columns = {"ordered": ordered, "returned": returned, "kept": kept, "paid": paid, "days": days}
    dates = {
        name: pa.array((86_400_000_000 * day).tolist(), pa.timestamp("us"))
        for name, day in (("opened", opened), ("closed", closed))
    }
    frame = Frame.from_arrow(pa.table(columns | dates))
    plain = infer_schema(frame)
    return Codec.fit(replace(plain, relations=find_relations(frame, plain)), frame)


CODECS: dict[str, Callable[[], Codec]] = {
    "wide": wide,
    "ledger": ledgers.codec,
    "settlements": ledgers.settlements_codec,
    "every kind": cache(every_kind),
    "counts": counts,
    "twins": twins,
}


def compiled(codec: Codec) -> RowCodec:
    found = codec.compiled
    assert found is not None
    return found


def field_of(value: Any) -> str:
    if isinstance(value, bool):
        return "booleans"
    return {int: "integers", float: "doubles", str: "strings"}[type(value)]


def add_cell(rows: pb.Rows, name: str, value: Any, field: str) -> None:
    """A cell as clients write it; `field` is what a NULL is written with, if with anything."""
    column = rows.columns.add(name=name)
    if value is None or value is ABSENT:
        column.states = NULL_CELL if value is None else b"\2"
        if field:
            getattr(column, field).values.append(PLACEHOLDERS[field])
    else:
        getattr(column, field_of(value)).values.append(value)


def wire_row(rows: pb.Rows) -> WireRow:
    """As it lies in a message, with other bytes around it."""

    def read() -> Mapping[str, list[Any]]:
        out = {}
        for column in rows.columns:
            which = column.WhichOneof("values")
            if column.states in (NULL_CELL, b"\2"):
                out[column.name] = [None if column.states == NULL_CELL else ABSENT]
            else:
                assert which is not None
                out[column.name] = list(getattr(column, which).values)
        return out

    content = rows.SerializeToString()
    return WireRow(b"\x0a\x03" + content + b"\xff", 2, len(content), read)


ODD = st.one_of(
    st.none(),
    st.just(ABSENT),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-5, 20),
    st.floats(),
    st.sampled_from([0.0, -0.0, 2.5, 1e300, math.nan]),
    st.text(max_size=4),
    st.sampled_from(["web", "shop 1", "(other)", "shop 77", "nowhere", "\x00"]),
)


def uniform_numbers(seed: int, codec: Codec) -> Callable[[Sequence[int]], NDArray[np.float64]]:
    numbers = np.random.default_rng(seed).random((len(codec.columns), 1))
    return lambda columns: numbers[list(columns)]


def random_tokens(codec: Codec, seed: int) -> NDArray[np.int32]:
    sizes = np.array(codec.layout.sizes)
    return (np.random.default_rng(seed).random(len(sizes)) * sizes).astype(np.int32)


def learnt_cells(codec: Codec, seed: int) -> dict[str, Any]:
    """Values of the columns' own types that tokens stand for."""
    row = random_tokens(codec, seed)
    return codec.decode_row(row.tolist(), uniform_numbers(seed, codec), codec.schema.names)


@st.composite
def cells(draw: st.DrawFn, codec: Codec, odd: bool = True) -> dict[str, tuple[Any, str]]:
    """A row's cells in any order: learnt, or any that a message can hold."""
    learnt = learnt_cells(codec, draw(st.integers(0, 2**32)))
    names = draw(st.lists(st.sampled_from(codec.schema.names), unique=True))
    if draw(st.booleans()):
        names.sort(key=codec.schema.names.index)
    out = {}
    for name in names:
        own = FIELDS[codec.kinds[name]]
        value = draw(ODD) if odd and draw(st.integers(0, 3)) == 0 else learnt[name]
        out[name] = value, draw(st.sampled_from(["", own, "strings"]))
    return out


def rows_of(found: Mapping[str, tuple[Any, str]]) -> pb.Rows:
    rows = pb.Rows(count=1)
    for name, (value, field) in found.items():
        add_cell(rows, name, value, field)
    return rows
