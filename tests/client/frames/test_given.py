"""What was given comes back as it was given, in a frame of any kind, whatever travelled."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from cascade_client import Client, ColumnDescription
from cascade_client.testing import FakeServer, FakeTable

COLUMNS = (
    ColumnDescription("income", "continuous", True, "float64", 0, 1e6),
    ColumnDescription("age", "integer", False, "int64", 0, 100),
    ColumnDescription("at", "datetime", False, "datetime64[us]", 0, 2e15),
    ColumnDescription("code", "categorical", True, "int64", categories=("1", "2")),
)
# No double is this number.
LARGE = 2**53 + 1
FINE = pd.Timestamp("2026-01-01 00:00:00.123456789")


@pytest.fixture(params=[100, 4], ids=["at once", "in parts"])
def client(request: pytest.FixtureRequest) -> Any:
    server = FakeServer({"t": FakeTable(columns=COLUMNS)}, max_rows=request.param)
    with server.client() as client:
        yield client


class TestLargeNumbers:
    """Whole numbers where a table has real ones."""

    @pytest.mark.parametrize("draws", [1, 2])
    def test_without_a_hole(self, client: Client, draws: int) -> None:
        cells = [LARGE, 1, -LARGE]
        expected = np.repeat(cells, draws).tolist()
        out = client.synthesize("t", pd.DataFrame({"income": cells}), draws=draws).data
        assert out["income"].tolist() == expected
        assert out["income"].dtype == "int64"
        table = client.synthesize("t", pa.table({"income": cells}), draws=draws).data
        assert table["income"].to_pylist() == expected
        frame = client.synthesize("t", pl.DataFrame({"income": cells}), draws=draws).data
        assert frame["income"].to_list() == expected

    @pytest.mark.parametrize(
        "values",
        [
            pd.array([LARGE, None], "Int64"),
            pd.array([LARGE, None], "int64[pyarrow]"),
            pd.Series([LARGE, None], dtype=object),
        ],
    )
    def test_beside_a_hole(self, client: Client, values: Any) -> None:
        """What is drawn is no whole number: no type of numbers holds both."""
        frame = pd.DataFrame({"income": values})
        for out in (
            client.synthesize("t", frame, nulls="fill").data["income"],
            client.complete(frame, table="t").data["income"],
        ):
            assert str(out[0]) == str(LARGE)
            assert float(out[1]) > 0


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("at", pd.Series([FINE, FINE])),
        ("at", pd.Series([date(2026, 1, 1), date(2026, 1, 2)], dtype=object)),
        ("at", pd.Series(["2026-01-01", "2026-01-02T03:04:05Z"])),
        ("income", pd.Series([Decimal("0.1"), Decimal("0.123456789012345678901")], dtype=object)),
        ("income", pd.Series([0.1, 2.5], dtype="float32")),
        ("income", pd.Series(pd.arrays.SparseArray([0.0, 1.0]))),
        ("code", pd.Series([1.0, 2.0])),
        ("code", pd.Series([1, 7], dtype="int8")),
        ("code", pd.Categorical([2, 1], [1, 2, 3], ordered=True)),
    ],
)
def test_a_column_of_pandas_without_a_hole(client: Client, name: str, values: Any) -> None:
    frame = pd.DataFrame({name: values})
    frame.attrs["from"] = "a test"
    out = client.synthesize("t", frame).data
    pd.testing.assert_frame_equal(out[[name]], frame, check_exact=True)
    assert out.attrs == frame.attrs


def test_null_that_was_observed_stays_what_it_was(client: Client) -> None:
    frame = pd.DataFrame(
        {
            "income": pd.arrays.SparseArray([1.0, np.nan]),
            "code": pd.Series(["1", np.nan], dtype=object),
        }
    )
    out = client.synthesize("t", frame).data
    pd.testing.assert_frame_equal(out[["income", "code"]], frame)


@pytest.mark.parametrize("index", [pd.RangeIndex(2, 6, 2), pd.date_range("2026", periods=2)])
def test_the_index_is_the_callers(client: Client, index: Any) -> None:
    out = client.synthesize("t", pd.DataFrame({"age": [1, 2]}, index=index)).data
    pd.testing.assert_index_equal(out.index, index, exact=True)
    assert getattr(out.index, "freq", None) == getattr(index, "freq", None)


def test_the_callers_frame_stays_its_own(client: Client) -> None:
    frame = pd.DataFrame({"age": [1, 2], "code": ["1", "2"]})
    out = client.synthesize("t", frame).data
    out.loc[0, "age"], out.loc[0, "code"] = 7, "x"
    assert frame.to_dict("list") == {"age": [1, 2], "code": ["1", "2"]}


def test_a_column_of_arrow_and_polars_without_a_hole(client: Client) -> None:
    table = pa.table(
        {
            "at": pa.array([FINE.value] * 2, pa.timestamp("ns")),
            "income": pa.array([Decimal("0.10"), Decimal("2.50")]),
            "code": pa.array(["1", "7"]).dictionary_encode(),
        }
    )
    out = client.synthesize("t", table, columns=list(table.column_names)).data
    assert out.equals(table)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    assert client.synthesize("t", frame, columns=frame.columns).data.equals(frame)


class TestWhatIsSaidOfATable:
    """Metadata of Arrow: where pandas has its index, and whatever else."""

    PANDAS = pd.DataFrame(
        {"age": pd.array([1, None, 3], "Int8"), "code": ["1", "1", "2"]}, index=list("xyz")
    )

    @pytest.mark.parametrize("make", [lambda table: table, lambda table: table.to_batches()[0]])
    def test_it_stays(self, client: Client, make: Any) -> None:
        field = pa.field("age", pa.int8(), metadata={"unit": "years"})
        schema = pa.schema([field, ("code", pa.string())], metadata={"from": "a test"})
        given = make(pa.table({"age": [1, None, 3], "code": ["1", "1", "2"]}, schema))
        for out in (
            client.synthesize("t", given).data,
            client.complete(given, table="t").data,
            client.augment(given, "code", table="t").data,
        ):
            assert out.schema.metadata == {b"from": b"a test"}
            assert out.schema.field("age").metadata == {b"unit": b"years"}

    def test_an_index_of_pandas(self, client: Client) -> None:
        table = pa.Table.from_pandas(self.PANDAS)
        filled = client.complete(table, table="t").data.to_pandas()
        assert list(filled.index) == ["x", "y", "z"]
        assert filled["age"].dtype == "Int8"
        more = client.augment(table, "code", table="t").data.to_pandas()
        assert list(more.index) == ["x", "y", "z", None]

    def test_an_index_that_is_a_range(self, client: Client) -> None:
        table = pa.Table.from_pandas(self.PANDAS.reset_index(drop=True))
        assert list(client.augment(table, "code", table="t").data.to_pandas().index) == [0, 1, 2, 3]
        assert list(client.synthesize("t", table, draws=2).data.to_pandas().index) == [*range(6)]

    def test_a_column_in_another_type_is_not_what_was_said(self, client: Client) -> None:
        frame = self.PANDAS.rename(columns={"age": "income"})
        out = client.complete(pa.Table.from_pandas(frame), table="t").data.to_pandas()
        assert out["income"].dtype == "float64"
        assert list(out.index) == ["x", "y", "z"]

    def test_a_column_that_had_no_null(self, client: Client) -> None:
        schema = pa.schema([("code", pa.string()), pa.field("note", pa.int8(), nullable=False)])
        table = pa.table({"code": ["1", "1", "2"], "note": [1, 2, 3]}, schema)
        out = client.augment(table, "code", table="t").data
        assert out["note"].to_pylist() == [1, 2, 3, None]
        assert out.schema.field("note").nullable
        out.validate(full=True)
