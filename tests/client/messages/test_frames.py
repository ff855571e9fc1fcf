"""Frames come back as they went in: their kind, their columns' dtypes, their index."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from cascade_client import ColumnDescription, InvalidRequest
from cascade_client.messages.arrow_frames import Streamed
from cascade_client.messages.frames import ARROW, BATCH, PANDAS, POLARS, kind_of
from cascade_client.messages.given import read
from cascade_client.messages.rows import pack, unpack
from cascade_client.testing import FakeServer, FakeTable
from cascade_client.values.date_times import from_microseconds
from cascade_client.values.descriptions import TableDescription
from cascade_proto import synthesis_pb2 as pb

ZONE = "Europe/Berlin"
NOON = datetime(2026, 1, 2, 12)

COLUMNS = {
    "whole": ("integer", 41),
    "real": ("continuous", 1.5),
    "text": ("categorical", "new"),
    "level": ("categorical", "low"),
    "code": ("categorical", "7"),
    "flag": ("boolean", True),
    "at": ("datetime", NOON),
}
SCHEMA = TableDescription(
    "t", 1, tuple(ColumnDescription(n, k, True, "any") for n, (k, _) in COLUMNS.items())
)


def answered(frame: Any, draws: int = 1) -> Any:
    """The frame as a server would give it back that fills holes with the values of `COLUMNS`."""
    given, asked = read(frame), pb.Rows()
    pack(given, SCHEMA.by_name, asked, "fill")
    rows = []
    columns = {column.name: column for column in asked.columns}
    for row in range(given.count):
        cells = {}
        for name, (_, drawn) in COLUMNS.items():
            column = columns.get(name)
            field = column.WhichOneof("values") if column is not None else None
            known = field is not None and (not column.states or column.states[row] == 0)
            cells[name] = getattr(column, field).values[row] if known else drawn
            if name == "at" and known:
                cells[name] = from_microseconds(cells[name])
        rows += [cells] * draws
    out = pb.Rows()
    pack(read(rows), SCHEMA.by_name, out)
    return unpack([out], SCHEMA, given.form, given.frame, draws)


class TestPandas:
    def test_dtypes_and_index_are_the_callers(self) -> None:
        frame = pd.DataFrame(
            {
                "whole": pd.array([1, None], dtype="Int64"),
                "real": pd.array([0.5, None], dtype="Float64"),
                "text": pd.array(["x", None], dtype="string[pyarrow]"),
                "level": pd.Categorical(["high", None], ["low", "mid", "high"], ordered=True),
                "code": pd.Categorical([3, None], [3, 7]),
                "flag": pd.array([False, None], dtype="boolean"),
                "at": pd.to_datetime(["2026-07-01", None]).tz_localize(ZONE).as_unit("ns"),
            },
            index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["shop", "till"]),
        )
        expected = frame.copy()
        expected.iloc[1] = [41, 1.5, "new", "low", 7, True, pd.Timestamp(NOON, tz="UTC")]
        for name in frame:
            expected[name] = expected[name].astype(frame[name].dtype)
        pd.testing.assert_frame_equal(answered(frame), expected)

    @pytest.mark.parametrize(
        ("column", "values", "dtype"),
        [
            ("whole", [1, np.nan], "float64"),
            ("whole", [1, 2], "int8"),
            ("whole", [1, 2], "uint16"),
            ("whole", [1.0, None], "Int32"),
            ("whole", [1, 2], "int64[pyarrow]"),
            ("real", [0.5, np.nan], "float32"),
            ("text", ["x", None], "object"),
            ("text", ["x", None], "string"),
            ("text", ["x", None], "category"),
            ("code", [3, 7], "int64"),
            ("flag", [True, False], "bool"),
            ("at", ["2026-07-01", None], "datetime64[s]"),
            ("at", ["2026-07-01", None], "datetime64[ns, UTC]"),
        ],
    )
    def test_a_dtype_comes_back(self, column: str, values: list[Any], dtype: str) -> None:
        if column == "at":
            values = pd.to_datetime(pd.Series(values), utc="UTC" in dtype)
        series = pd.Series(values).astype(dtype)
        back = answered(series.to_frame(column))[column]
        assert back.notna().all()
        if dtype == "category":  # which has to hold what was drawn, too
            assert list(back.cat.categories) == ["x", "new"]
        else:
            assert back.dtype == series.dtype
        known = series.notna()
        assert back[known].tolist() == series[known].tolist()

    def test_what_a_dtype_cannot_hold_comes_back_in_one_that_does(self) -> None:
        frame = pd.DataFrame({"code": pd.array(["3", None], dtype="string")})
        assert answered(frame)["code"].tolist() == ["3", "7"]
        large = pd.DataFrame({"real": np.array([1, 2], "int8"), "text": [1, None]})
        back = answered(large)
        assert back["real"].tolist() == [1, 2]
        assert back["text"].tolist() == ["1", "new"]

    def test_columns_that_were_not_there_have_the_tables_dtype(self) -> None:
        back = answered(pd.DataFrame({"flag": [True]}))
        assert str(back["at"].dtype) == "datetime64[us]"
        assert back["whole"].dtype == np.int64

    def test_draws_repeat_the_index(self) -> None:
        frame = pd.DataFrame({"whole": [1, 2]}, index=pd.Index(["a", "b"], name="id"))
        back = answered(frame, draws=2)
        assert back.index.tolist() == ["a", "a", "b", "b"]
        assert back.index.name == "id"


class TestArrow:
    TABLE = pa.table(
        {
            "whole": pa.array([1, None], pa.int16()),
            "real": pa.array([0.5, None], pa.float32()),
            "text": pa.array(["x", None], pa.large_string()),
            "level": pa.array(["high", None]).dictionary_encode(),
            "code": pa.array([3, None], pa.int8()),
            "flag": pa.array([False, None]),
            "at": pa.array([NOON, None], pa.timestamp("ns", ZONE)),
        }
    )

    def test_types_are_the_callers(self) -> None:
        back = answered(self.TABLE)
        assert back.schema == self.TABLE.schema
        assert back.slice(0, 1).to_pylist() == self.TABLE.slice(0, 1).to_pylist()
        assert back["text"].to_pylist() == ["x", "new"]
        assert back["code"].to_pylist() == [3, 7]

    def test_a_batch_for_a_batch(self) -> None:
        (batch,) = self.TABLE.to_batches()
        back = answered(batch)
        assert isinstance(back, pa.RecordBatch)
        assert back.schema == batch.schema

    def test_dates_and_decimals(self) -> None:
        table = pa.table(
            {"at": pa.array([date(2026, 1, 2), None]), "real": pa.array([Decimal("1.25"), None])}
        )
        back = answered(table)
        assert back["at"].to_pylist()[0] in (date(2026, 1, 2), datetime(2026, 1, 2))
        assert [float(value) for value in back["real"].to_pylist()] == [1.25, 1.5]


class TestPolars:
    FRAME = pl.DataFrame(
        {
            "whole": pl.Series([1, None], dtype=pl.Int16),
            "real": pl.Series([0.5, None], dtype=pl.Float32),
            "text": pl.Series(["x", None], dtype=pl.String),
            "level": pl.Series(["high", None], dtype=pl.Enum(["low", "high"])),
            "code": pl.Series([3, None], dtype=pl.Int8),
            "flag": pl.Series([False, None], dtype=pl.Boolean),
            "at": pl.Series([NOON, None], dtype=pl.Datetime("ns", ZONE)),
        }
    )

    def test_types_are_the_callers(self) -> None:
        back = answered(self.FRAME)
        assert back.schema == self.FRAME.schema
        assert back.head(1).rows() == self.FRAME.head(1).rows()
        assert back["level"].to_list() == ["high", "low"]
        assert back["code"].to_list() == [3, 7]
        assert back["at"][1] == NOON.replace(tzinfo=timezone(timedelta(0)))

    def test_nan_is_a_hole(self) -> None:
        assert answered(pl.DataFrame({"real": [0.5, float("nan")]}))["real"].to_list() == [0.5, 1.5]

    def test_categories(self) -> None:
        frame = pl.DataFrame({"level": pl.Series(["high", None], dtype=pl.Categorical)})
        back = answered(frame)["level"]
        assert back.dtype == pl.Categorical
        assert back.to_list() == ["high", "low"]

    def test_what_a_type_cannot_hold_comes_back_in_one_that_does(self) -> None:
        frame = pl.DataFrame({"text": pl.Series(["a", None], dtype=pl.Enum(["a", "b"]))})
        assert answered(frame)["text"].to_list() == ["a", "new"]

    def test_null_comes_back(self) -> None:
        rows, column = pb.Rows(), SCHEMA.by_name
        pack(read([{"whole": None, "at": None}, {"whole": 2, "at": NOON}]), column, rows)
        back = unpack([rows], SCHEMA, POLARS)
        assert back.rows() == [(None, None), (2, NOON)]

    def test_a_lazy_one_is_refused(self) -> None:
        with pytest.raises(InvalidRequest, match=r"a LazyFrame; .*: collect\(\) it first"):
            read(pl.LazyFrame({"whole": [1]}))


class Stream:
    """Data of a package that nobody here knows; it holds an Arrow table."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


class Made(Stream):
    """The same, which can be made of such data."""

    @classmethod
    def from_arrow(cls, data: Any) -> Made:
        return cls(pa.table(data))


class TestStreams:
    def test_a_table_where_the_type_cannot_be_made(self) -> None:
        back = answered(Stream(TestArrow.TABLE))
        assert back.schema == TestArrow.TABLE.schema

    def test_the_same_type_where_it_can(self) -> None:
        back = answered(Made(TestArrow.TABLE))
        assert isinstance(back, Made)
        assert back.table["code"].to_pylist() == [3, 7]


def test_each_kind_is_told_by_its_type() -> None:
    table = TestArrow.TABLE
    kinds = [
        (pd.DataFrame(), PANDAS),
        (table, ARROW),
        (table.to_batches()[0], BATCH),
        (pl.DataFrame(), POLARS),
        (Stream(table), Streamed(Stream)),
        ([{}], None),
    ]
    assert [kind_of(data) for data, _ in kinds] == [kind for _, kind in kinds]


@pytest.mark.parametrize("make", [lambda t: t, lambda t: t.to_batches()[0], pl.from_arrow, Made])
def test_frames_of_every_kind_go_in_parts(make: Any) -> None:
    columns = (ColumnDescription("age", "integer", False, "int64", 0, 100),)
    table = pa.table({"age": pa.array([1, None, 3, None, 5], pa.int8())})
    whole, small = (
        FakeServer({"people": FakeTable(columns=columns)}, max_rows=most) for most in (100, 2)
    )
    frames = []
    for of in (whole, small):
        with of.client() as client:
            frames.append(client.synthesize("people", make(table), seed=1).data)
    one, other = (each.table if isinstance(each, Made) else each for each in frames)
    assert one.equals(other)
    assert type(frames[1]) is type(make(table))
    assert len(small.asked) == 3


def test_plain_rows_bring_no_package_of_frames() -> None:
    program = """
import sys
from cascade_client import ColumnDescription
from cascade_client.testing import FakeServer, FakeTable
columns = (ColumnDescription("age", "integer", False, "int64", 0, 100),)
with FakeServer({"people": FakeTable(columns=columns)}).client() as client:
    client.synthesize("people", {"age": 3})
    client.synthesize("people", [{"age": 3}, {}], draws=2)
print([name for name in ("pandas", "polars", "pyarrow", "narwhals") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
