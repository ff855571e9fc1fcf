"""Date-times in whatever form a frame has them: what was given stays, what was drawn is written as
the rest of its column is, and no column comes back with two types in it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from cascade_client import Client, ColumnDescription
from cascade_client.testing import FakeServer, FakeTable

DAY, LATER = datetime(2026, 1, 1), datetime(2026, 7, 2, 12, 0, 0, 500)
MICROSECONDS = 1_782_993_600_000_500  # of LATER, since 1970
TOKYO = timezone(timedelta(hours=9))
COLUMNS = (
    ColumnDescription("at", "datetime", False, "datetime64[us]", 0, 2e15),
    ColumnDescription("age", "integer", False, "int64", 0, 100),
    ColumnDescription("income", "continuous", False, "float64", 0, 1e6),
    ColumnDescription("city", "categorical", False, "string", categories=("Rome", "Oslo")),
    ColumnDescription("member", "boolean", False, "bool"),
)
DRAWN = {"at": LATER, "age": 40, "income": 1.5, "city": "Rome", "member": True}


def drawn(asked: Any) -> list[dict[str, Any]]:
    return [{**DRAWN, **row} for row in asked.rows for _ in range(asked.draws)]


@pytest.fixture
def client() -> Any:
    with FakeServer({"t": FakeTable(drawn, COLUMNS)}).client() as client:
        yield client


def arrow(type_: str) -> Any:
    return lambda values: pd.array(values, dtype=f"{type_}[pyarrow]")


# A column of pandas with a date-time and a hole, and what is in it once the hole is filled.
PANDAS: dict[str, tuple[Any, list[Any]]] = {
    "text": (["2026-01-01", None], ["2026-01-01", "2026-07-02T12:00:00.000500"]),
    "text with a zone": (
        ["2026-01-01T00:00:00+09:00", None],
        ["2026-01-01T00:00:00+09:00", "2026-07-02T12:00:00.000500+00:00"],
    ),
    "string": (
        pd.array(["2026-01-01", None], dtype="string"),
        ["2026-01-01", "2026-07-02T12:00:00.000500"],
    ),
    "string of Arrow": (
        arrow("string")(["2026-01-01", None]),
        ["2026-01-01", "2026-07-02T12:00:00.000500"],
    ),
    "categories": (
        pd.Categorical(["2026-01-01", None]),
        ["2026-01-01", "2026-07-02T12:00:00.000500"],
    ),
    "dates": (pd.array([date(2026, 1, 1), None], dtype=object), [DAY, LATER]),
    "dates of Arrow": (arrow("date32[day]")([date(2026, 1, 1), None]), [DAY, LATER]),
    "objects": (pd.Series([DAY, None], dtype=object), [DAY, LATER]),
    "objects with a zone": (
        pd.Series([DAY.replace(tzinfo=TOKYO), None], dtype=object),
        [DAY.replace(tzinfo=TOKYO), LATER.replace(tzinfo=UTC)],
    ),
    "objects of no nanoseconds": (
        pd.Series([datetime(3026, 1, 1), None], dtype=object),
        [datetime(3026, 1, 1), LATER],
    ),
    "microseconds": (pd.array([5, None], dtype="Int64"), [5, MICROSECONDS]),
    "microseconds of Arrow": (arrow("int64")([5, None]), [5, MICROSECONDS]),
    "small microseconds": (pd.array([5, None], dtype="Int8"), [5, MICROSECONDS]),
    "microseconds as objects": (pd.Series([5, None], dtype=object), [5, MICROSECONDS]),
    "seconds": (pd.array([DAY, None], dtype="datetime64[s]"), [DAY, LATER]),
    "a zone": (
        pd.Series([DAY, None], dtype="datetime64[ns]").dt.tz_localize("Asia/Tokyo"),
        [DAY.replace(tzinfo=TOKYO), LATER.replace(tzinfo=UTC)],
    ),
    "seconds with a zone": (
        pd.Series([DAY, None], dtype="datetime64[s]").dt.tz_localize("Asia/Tokyo"),
        [DAY.replace(tzinfo=TOKYO), LATER.replace(tzinfo=UTC)],
    ),
    "a time of Arrow": (arrow("timestamp[ns]")([DAY, None]), [DAY, LATER]),
    "a zone of Arrow": (
        arrow("timestamp[us, tz=Asia/Tokyo]")([DAY.replace(tzinfo=TOKYO), None]),
        [DAY.replace(tzinfo=TOKYO), LATER.replace(tzinfo=UTC)],
    ),
    "seconds with a zone of Arrow": (
        arrow("timestamp[s, tz=Asia/Tokyo]")([DAY.replace(tzinfo=TOKYO), None]),
        [DAY.replace(tzinfo=TOKYO), LATER.replace(tzinfo=UTC)],
    ),
    "nothing": ([None, None], [LATER, LATER]),
    "not a number": ([float("nan")] * 2, [LATER, LATER]),
    "no number": (pd.array([None, None], dtype="Int64"), [LATER, LATER]),
}
WIDENED = {"small microseconds", "seconds", "seconds with a zone", "seconds with a zone of Arrow"}


def asked(client: Client, frame: Any) -> list[Any]:
    """A frame with its holes filled, in each of the ways in which that can be asked."""
    return [
        client.synthesize("t", frame, columns=["at"]).data,
        client.complete(frame, table="t").data,
        client.complete(frame, 2, table="t").mean(),
    ]


class TestPandas:
    """Columns of pandas."""

    @pytest.mark.parametrize("form", PANDAS)
    def test_a_hole_is_filled_as_the_column_is_written(self, client: Client, form: str) -> None:
        given, expected = PANDAS[form]
        frame = pd.DataFrame({"at": given}).set_axis(["x", "y"])
        for out in asked(client, frame):
            column = out["at"]
            assert column.tolist() == expected
            assert len(set(map(type, column.tolist()))) == 1
            pa.Table.from_pandas(out)  # a file takes it
            if form not in WIDENED and "no" not in form.split()[0] and "date" not in form:
                kept = column.dtype == frame["at"].dtype
                assert kept or "objects" in form or form == "categories"

    @pytest.mark.parametrize("name", ["age", "income", "city", "member"])
    @pytest.mark.parametrize("dtype", ["datetime64[ns, UTC]", "timestamp[us, tz=UTC][pyarrow]"])
    def test_no_date_time_of_a_column_that_has_others(
        self, client: Client, name: str, dtype: str
    ) -> None:
        frame = pd.DataFrame({name: pd.array([None, None], dtype=dtype), "x": 1})
        out = client.complete(frame, table="t").data
        assert out[name].tolist() == [DRAWN[name]] * 2
        assert client.synthesize("t", frame[[name]]).data[name].tolist() == [DRAWN[name]] * 2

    def test_date_times_where_there_is_to_be_text(self, client: Client) -> None:
        """Those of rows that are not sent nobody refuses."""
        frame = pd.DataFrame({"city": pd.to_datetime(["2026-01-01", None])})
        out = client.complete(frame, table="t").data
        assert out["city"].tolist() == ["2026-01-01T00:00:00", "Rome"]

    def test_zones_that_differ_become_one(self, client: Client) -> None:
        moments = [DAY.replace(tzinfo=TOKYO), DAY.replace(tzinfo=UTC), DAY, None]
        out = client.complete(pd.DataFrame({"at": pd.Series(moments, dtype=object)})).data["at"]
        utc = [moments[0], moments[1], DAY.replace(tzinfo=UTC), LATER.replace(tzinfo=UTC)]
        assert out.tolist() == utc
        assert str(out.dt.tz) == "UTC"


class TestArrow:
    """Columns of Arrow."""

    @pytest.mark.parametrize(
        ("given", "type_", "expected"),
        [
            (["2026-01-01", None], "string", ["2026-01-01", "2026-07-02T12:00:00.000500"]),
            (["2026-01-01", None], "large_string", ["2026-01-01", "2026-07-02T12:00:00.000500"]),
            ([date(2026, 1, 1), None], "date32", [DAY, LATER]),
            ([date(2026, 1, 1), None], "date64", [DAY, LATER]),
            ([5, None], "int64", [5, MICROSECONDS]),
            ([5, None], "int16", [5, MICROSECONDS]),
            ([DAY, None], pa.timestamp("s"), [DAY, LATER]),
            (
                [DAY.replace(tzinfo=TOKYO), None],
                pa.timestamp("s", "Asia/Tokyo"),
                [DAY.replace(tzinfo=TOKYO), LATER.replace(tzinfo=UTC)],
            ),
            ([None, None], "null", [LATER, LATER]),
            ([None, None], "int64", [LATER, LATER]),
        ],
    )
    def test_a_hole_is_filled_as_the_column_is_written(
        self, client: Client, given: Any, type_: Any, expected: Any
    ) -> None:
        frame = pa.table({"at": pa.array(given, type_)})
        for out in asked(client, frame):
            assert out["at"].to_pylist() == expected

    def test_a_dictionary(self, client: Client) -> None:
        frame = pa.table({"at": pa.array(["2026-01-01", None]).dictionary_encode()})
        for out in asked(client, frame):
            assert out["at"].to_pylist() == ["2026-01-01", "2026-07-02T12:00:00.000500"]
            assert out["at"].type == frame["at"].type

    @pytest.mark.parametrize("name", ["age", "income", "city", "member"])
    @pytest.mark.parametrize("zone", [None, "UTC"])
    def test_no_date_time_of_a_column_that_has_others(
        self, client: Client, name: str, zone: str | None
    ) -> None:
        frame = pa.table({name: pa.nulls(2, pa.timestamp("us", zone))})
        for out in (
            client.complete(frame, table="t").data,
            client.synthesize("t", frame).data,
        ):
            assert out[name].to_pylist() == [DRAWN[name]] * 2


class TestPolars:
    """Columns of polars."""

    @pytest.mark.parametrize(
        ("given", "dtype", "expected"),
        [
            (["2026-01-01", None], pl.String, ["2026-01-01", "2026-07-02T12:00:00.000500"]),
            (["2026-01-01", None], pl.Categorical, ["2026-01-01", "2026-07-02T12:00:00.000500"]),
            (
                ["2026-01-01", None],
                pl.Enum(["2026-01-01"]),
                ["2026-01-01", "2026-07-02T12:00:00.000500"],
            ),
            ([date(2026, 1, 1), None], pl.Date, [DAY, LATER]),
            ([5, None], pl.Int64, [5, MICROSECONDS]),
            ([5, None], pl.Int16, [5, MICROSECONDS]),
            ([DAY, None], pl.Datetime("ms"), [DAY, LATER]),
            (
                [DAY.replace(tzinfo=TOKYO), None],
                pl.Datetime("ms", "Asia/Tokyo"),
                [DAY.replace(tzinfo=TOKYO), LATER.replace(tzinfo=UTC)],
            ),
            ([None, None], pl.Null, [LATER, LATER]),
            ([None, None], pl.Int64, [LATER, LATER]),
        ],
    )
    def test_a_hole_is_filled_as_the_column_is_written(
        self, client: Client, given: Any, dtype: Any, expected: Any
    ) -> None:
        frame = pl.DataFrame({"at": pl.Series(given, dtype=dtype, strict=False)})
        for out in asked(client, frame):
            assert out["at"].to_list() == expected

    @pytest.mark.parametrize("name", ["age", "income", "city", "member"])
    @pytest.mark.parametrize("zone", [None, "UTC"])
    def test_no_date_time_of_a_column_that_has_others(
        self, client: Client, name: str, zone: str | None
    ) -> None:
        frame = pl.DataFrame({name: pl.Series([None, None], dtype=pl.Datetime("us", zone))})
        for out in (
            client.complete(frame, table="t").data,
            client.synthesize("t", frame).data,
        ):
            assert out[name].to_list() == [DRAWN[name]] * 2


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-01-01", ["2026-01-01", "2026-07-02T12:00:00.000500"]),
        (date(2026, 1, 1), [DAY, LATER]),
        (DAY.replace(tzinfo=TOKYO), [DAY.replace(tzinfo=TOKYO), LATER.replace(tzinfo=UTC)]),
        (5, [5, MICROSECONDS]),
    ],
)
def test_dicts(client: Client, given: Any, expected: Any) -> None:
    rows = [{"at": given}, {"at": None}]
    answer = client.complete(rows, 2, table="t")
    for out in (client.complete(rows, table="t").data, answer.data[::2], answer.mean()):
        assert [row["at"] for row in out] == expected
        assert len({type(row["at"]) for row in out}) == 1
    assert rows == [{"at": given}, {"at": None}]
