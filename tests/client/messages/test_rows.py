"""Values on the wire, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from cascade_client import InvalidRequest
from cascade_client.messages import rows
from cascade_client.messages.cells import Form
from cascade_client.messages.frames import ARROW, PANDAS
from cascade_client.messages.given import Given, read
from cascade_client.messages.rows import unpack
from cascade_client.values.descriptions import ColumnDescription, TableDescription
from cascade_proto import synthesis_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st


def pack(given: Given, schema: Mapping[str, ColumnDescription]) -> pb.Rows:
    into = pb.Rows()
    rows.pack(given, schema, into=into)
    return into


def described(kind: str, **more: Any) -> ColumnDescription:
    return ColumnDescription("x", kind, nullable=True, dtype="any", **more)


def schema(**kinds: str) -> TableDescription:
    columns = tuple(
        ColumnDescription(name, kind, nullable=True, dtype="any") for name, kind in kinds.items()
    )
    return TableDescription("t", 1, columns)


def sent(value: Any, column: ColumnDescription | None) -> tuple[str | None, list[Any]]:
    """Field and values that a single value, or each of a list, travels as."""
    table = [{"x": one} for one in value] if isinstance(value, list) else [{"x": value}]
    [packed] = pack(read(table), {} if column is None else {"x": column}).columns
    field = packed.WhichOneof("values")
    return field, list(getattr(packed, field).values) if field else []


class TestPacking:
    """The schema chooses how a value travels; nothing is lost, and nothing is guessed."""

    @pytest.mark.parametrize(
        ("kind", "value", "field", "wired"),
        [
            ("continuous", 5, "doubles", 5.0),
            ("continuous", 1.5, "doubles", 1.5),
            ("integer", 25, "integers", 25),
            ("integer", 25.0, "integers", 25),
            ("boolean", True, "booleans", True),
            ("boolean", 1, "booleans", True),
            ("boolean", 0.0, "booleans", False),
            ("categorical", "a", "strings", "a"),
            ("categorical", 2, "strings", "2"),
            ("categorical", True, "strings", "True"),
            ("datetime", datetime(1970, 1, 1, 0, 0, 1), "integers", 1_000_000),
            ("datetime", "1970-01-01T00:00:01", "integers", 1_000_000),
            ("datetime", datetime(1970, 1, 1, tzinfo=UTC), "integers", 0),
            (
                "datetime",
                datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
                "integers",
                0,
            ),
        ],
    )
    def test_fitting_values(self, kind: str, value: Any, field: str, wired: Any) -> None:
        assert sent(value, described(kind)) == (field, [wired])

    @pytest.mark.parametrize(
        ("kind", "value", "field", "wired"),
        [
            ("integer", 2.5, "doubles", 2.5),
            ("integer", math.inf, "doubles", math.inf),
            ("integer", "old", "strings", "old"),
            ("integer", True, "booleans", True),
            ("continuous", "much", "strings", "much"),
            ("boolean", 2, "integers", 2),
            ("datetime", "soon", "strings", "soon"),
            ("continuous", datetime(1970, 1, 1), "strings", "1970-01-01T00:00:00"),
        ],
    )
    def test_unfitting_values_go_as_they_are_for_the_server_to_refuse(
        self, kind: str, value: Any, field: str, wired: Any
    ) -> None:
        assert sent(value, described(kind)) == (field, [wired])

    def test_a_category_that_pandas_made_a_float_is_found(self) -> None:
        assert sent([2.0, 7.5], described("categorical", categories=("1", "2"))) == (
            "strings",
            ["2", "7.5"],
        )

    def test_an_unknown_column_travels_by_its_type(self) -> None:
        assert sent([1, 2.5], None) == ("doubles", [1.0, 2.5])
        assert sent("a", None) == ("strings", ["a"])

    def test_mixed_types_are_named(self) -> None:
        with pytest.raises(InvalidRequest, match="column 'x' mixes int and str"):
            sent([1, "a"], described("integer"))

    def test_mixed_types_are_categories_where_categories_are_wanted(self) -> None:
        assert sent([1, "a"], described("categorical")) == ("strings", ["1", "a"])

    @pytest.mark.parametrize("value", [2**63, "\ud800"])
    def test_what_the_wire_cannot_hold_is_named(self, value: Any) -> None:
        with pytest.raises(InvalidRequest, match="column 'x' has a value that cannot be sent"):
            sent(value, None)

    def test_states_are_left_out_where_all_is_observed(self) -> None:
        packed = pack(read([{"a": 1, "b": 1}, {"a": 2}, {"a": 3, "b": None}]), {})
        assert [column.states for column in packed.columns] == [b"", b"\x00\x02\x01"]
        assert list(packed.columns[1].integers.values) == [1, 0, 0]

    def test_a_column_with_nothing_observed_has_no_values(self) -> None:
        assert sent(None, described("integer")) == (None, [])


CELL = {
    "continuous": st.floats(allow_nan=False, allow_infinity=False),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "categorical": st.text(st.characters(exclude_categories=["Cs"])),
    "boolean": st.booleans(),
    "datetime": st.datetimes(),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[TableDescription, list[dict[str, Any]]]:
    """A schema of a few columns, and observed rows that fit it, NULL among them."""
    kinds = draw(st.lists(st.sampled_from(sorted(CELL)), min_size=1, max_size=4))
    names = {f"c{number}": kind for number, kind in enumerate(kinds)}
    row = st.fixed_dictionaries({n: st.none() | CELL[kind] for n, kind in names.items()})
    return schema(**names), draw(st.lists(row, min_size=1, max_size=5))


class TestRoundTrips:
    """What goes out observed comes back the same, whatever it is held in."""

    @given(tables())
    def test_rows(self, table: tuple[TableDescription, list[dict[str, Any]]]) -> None:
        described, held = table
        packed = pb.Rows.FromString(pack(read(held), described.by_name).SerializeToString())
        assert unpack([packed], described, Form.ROWS) == held

    @given(tables())
    def test_arrow(self, table: tuple[TableDescription, list[dict[str, Any]]]) -> None:
        described, held = table
        packed = pack(read(held), described.by_name)
        arrow = unpack([packed, packed], described, ARROW)
        assert arrow.to_pylist() == held * 2

    @given(tables())
    def test_pandas(self, table: tuple[TableDescription, list[dict[str, Any]]]) -> None:
        described, held = table
        packed = pack(read(held), described.by_name)
        frame = unpack([packed], described, PANDAS)
        again = pack(read(frame), described.by_name)
        assert again == packed


class TestNeverLearnt:
    """What a caller gave comes back as it was, however far it is from what was learnt."""

    def test_a_number_beyond_its_dtype(self) -> None:
        described = narrow("float")
        packed = pack(read([{"a": 1e300}, {"a": 0.5}]), described.by_name)
        assert unpack([packed], described, PANDAS)["a"].to_list() == [1e300, 0.5]
        packed = pack(read([{"a": float("inf")}, {"a": 0.5}]), described.by_name)
        assert str(unpack([packed], described, PANDAS)["a"].dtype) == "float32"

    @pytest.mark.parametrize("value", [-(2**63), 2**62])
    def test_microseconds_that_no_date_time_has(self, value: int) -> None:
        with pytest.raises(InvalidRequest, match=f"column 't': {value} is no date-time; micro"):
            pack(read({"t": value}), schema(t="datetime").by_name)


def narrow(dtype: str) -> TableDescription:
    """A table whose only column had this dtype in its source."""
    return TableDescription("t", 1, (ColumnDescription("a", "continuous", False, dtype),))


class TestDtypes:
    """DataFrames and Arrow tables have the dtypes one expects of such columns."""

    SCHEMA = schema(i="integer", f="continuous", s="categorical", b="boolean", t="datetime")
    ROW = {"i": 1, "f": 0.5, "s": "x", "b": True, "t": datetime(2026, 1, 2)}  # noqa: RUF012

    def answer(self, *rows: dict[str, Any]) -> pb.Rows:
        return pack(read(list(rows)), self.SCHEMA.by_name)

    def test_pandas_without_null(self) -> None:
        frame = unpack([self.answer(self.ROW)], self.SCHEMA, PANDAS)
        assert [str(d) for d in frame.dtypes] == [
            "int64",
            "float64",
            "object",
            "bool",
            "datetime64[us]",
        ]

    def test_pandas_with_null(self) -> None:
        null = dict.fromkeys(self.ROW)
        frame = unpack([self.answer(self.ROW), self.answer(null)], self.SCHEMA, PANDAS)
        assert [str(d) for d in frame.dtypes] == [
            "Int64",
            "float64",
            "object",
            "boolean",
            "datetime64[us]",
        ]
        assert frame.isna().sum().to_list() == [1] * 5

    def test_pandas_of_nothing_but_null(self) -> None:
        frame = unpack([self.answer(dict.fromkeys(self.ROW))], self.SCHEMA, PANDAS)
        assert frame.isna().all(axis=None)

    @pytest.mark.parametrize(
        ("dtype", "value", "expected"),
        [
            ("int8", 5, "int8"),
            ("uint16", 5, "uint16"),
            ("int8", 300, "int64"),
            ("float", 0.5, "float32"),
            ("double", 0.5, "float64"),
            ("int8", 0.5, "float64"),
        ],
    )
    def test_numbers_have_their_sources_dtype(
        self, dtype: str, value: float, expected: str
    ) -> None:
        described = TableDescription("t", 1, (ColumnDescription("x", "any", True, dtype),))
        answer = pack(read([{"x": value}]), {})
        assert str(unpack([answer], described, PANDAS)["x"].dtype) == expected
        holed = pack(read([{"x": value}, {"x": None}]), {})
        pandas_name = expected.replace("i", "I").replace("uI", "UI")
        frame = unpack([holed], described, PANDAS)
        assert str(frame["x"].dtype) == pandas_name
        table = unpack([holed], described, ARROW)
        assert table["x"].to_pylist() == [value, None]

    def test_arrow(self) -> None:
        table = unpack([self.answer(dict.fromkeys(self.ROW))], self.SCHEMA, ARROW)
        assert table.schema.types == [
            pa.int64(),
            pa.float64(),
            pa.string(),
            pa.bool_(),
            pa.timestamp("us"),
        ]

    def test_a_frame_keeps_the_callers_index(self) -> None:
        frame = unpack([self.answer(self.ROW)], self.SCHEMA, PANDAS, pd.DataFrame(index=["one"]))
        assert list(frame.index) == ["one"]
        assert frame["i"].dtype == np.int64
