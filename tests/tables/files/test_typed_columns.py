"""Columns of files that have types: times, decimals, text that is something else, odd numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cascade_tables import ColumnOverride, DataError, Kind, SchemaError, infer_schema
from cascade_tables.files import parquet_files, streaming
from cascade_tables.files.reading import read_by_schema, read_files, read_table
from cascade_tables.files.table import Table, below_each_other

Read = Callable[..., Table]


@pytest.fixture(params=["in memory", "in parts"])
def read(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Reads a Parquet file of one column, whole or a few rows at a time."""
    if request.param == "in parts":
        monkeypatch.setattr(streaming, "MOST_CELLS", 10)
        monkeypatch.setattr(parquet_files, "CHUNK_CELLS", 14)

    def of(values: Any, **override: Any) -> Table:
        path = tmp_path / "table.parquet"
        array = values if isinstance(values, pa.Array) else pa.array(values)
        pq.write_table(pa.table({"a": array, "row": range(len(array))}), path)
        return read_files([path], {"a": ColumnOverride(**override)} if override else None)

    return of


def column(table: Table) -> list[Any]:
    """All its cells, wherever they are."""
    return below_each_other(list(table.whole.chunks()))["a"].to_list()


class TestTimes:
    """They are seconds, as in text files and databases."""

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_lengths_of_time(self, read: Read, unit: str) -> None:
        values = [timedelta(seconds=second) for second in range(-5, 20)] * 2
        table = read(pa.array([*values, None], pa.duration(unit)))
        assert column(table) == [*range(-5, 20), *range(-5, 20), None]
        assert infer_schema(table.frame)["a"].kind is Kind.INTEGER

    @pytest.mark.parametrize("kind", [pa.time32("s"), pa.time32("ms"), pa.time64("us")])
    def test_times_of_day(self, read: Read, kind: pa.DataType) -> None:
        table = read(pa.array([time(hour, 30) for hour in range(24)], kind))
        assert column(table) == [hour * 3600 + 1800 for hour in range(24)]

    def test_parts_of_a_second_in_some_rows_only(self, read: Read) -> None:
        values = [timedelta(seconds=second) for second in range(30)] + [timedelta(microseconds=1)]
        table = read(values)
        assert column(table) == [*range(30), 1e-6]
        assert infer_schema(table.frame)["a"].kind is Kind.CONTINUOUS


class TestDecimals:
    def test_without_a_digit_behind_the_point_they_are_whole_to_the_last_digit(
        self, read: Read
    ) -> None:
        values = [2**60 + number for number in range(200)]
        table = read(pa.array(map(Decimal, values), pa.decimal128(38, 0)))
        assert column(table) == values

    def test_beyond_64_bits_they_are_reals(self, read: Read) -> None:
        table = read(pa.array([Decimal(number) for number in (1, 2, 10**30)], pa.decimal128(38, 0)))
        assert column(table) == [1, 2, 1e30]


class TestNotFinite:
    """An infinite number is an odd cell, and no reason to refuse a table."""

    VALUES = (*map(float, range(100)), math.inf, -math.inf, math.nan)

    def test_few_are_null_and_named(self, read: Read) -> None:
        table = read(self.VALUES)
        assert column(table) == [*range(100), None, None, None]
        assert (
            "a: 2 of 102 cells (2 %): 'inf', '-inf' (row 101, row 102) are not finite numbers"
            in (table.findings.describe())
        )

    def test_many_are_refused_with_what_to_do(self, read: Read) -> None:
        with pytest.raises(DataError, match=r"6 of 106 cells .* name a kind .* such as continuous"):
            read([*map(float, range(100)), *[math.inf] * 6])

    def test_many_are_null_where_a_kind_is_named(self, read: Read) -> None:
        table = read([*map(float, range(100)), *[math.inf] * 50], kind=Kind.CONTINUOUS)
        assert column(table) == [*range(100), *[None] * 50]

    def test_a_later_file_may_have_as_many(self, read: Read, tmp_path: Path) -> None:
        table = read([*(n + 0.5 for n in range(100)), *[math.inf] * 50], kind=Kind.CONTINUOUS)
        schema = infer_schema(table.frame)
        path = tmp_path / "table.parquet"
        again = read_by_schema([path], schema, table.findings.forms)
        assert column(again) == column(table)
        with pytest.raises(DataError, match="does not fit what was learnt, finite numbers"):
            read_by_schema([path], schema, {})

    def test_a_program_that_asks_for_all_cells_gets_them(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"a": [1.5, math.inf]}), tmp_path / "a.parquet")
        assert read_table(tmp_path / "a.parquet")["a"].to_list() == [1.5, math.inf]


class TestText:
    """Text is read as a text file's where a person says what it stands for."""

    DAYS = tuple(f"{day:02d}/03/2024" for day in range(1, 29))

    def test_dates(self, read: Read) -> None:
        table = read([*self.DAYS, None], kind=Kind.DATETIME)
        assert column(table) == [*(datetime(2024, 3, day) for day in range(1, 29)), None]

    def test_an_order_of_dates_is_enough(self, read: Read) -> None:
        table = read(self.DAYS[:12], dates="day_first")
        assert column(table) == [datetime(2024, 3, day) for day in range(1, 13)]

    def test_numbers_and_odd_cells(self, read: Read) -> None:
        table = read([*(f"{n}%" for n in range(40)), "?", "", "NA"], kind=Kind.INTEGER)
        assert column(table) == [*range(40), None, None, None]
        assert "1 of 41 cells (2.4 %): '?' (row 41)" in table.findings.describe()

    def test_a_mark_of_decimals_is_enough(self, read: Read) -> None:
        table = read(["1.234", "5,5", "7"] * 9, decimal_mark="comma")
        assert column(table) == [1234, 5.5, 7] * 9

    def test_dictionaries(self, read: Read) -> None:
        values = pa.array(["1", "2", None] * 10).dictionary_encode()
        assert column(read(values, kind=Kind.INTEGER)) == [1, 2, None] * 10

    def test_it_is_text_where_nobody_says_so(self, read: Read) -> None:
        assert column(read(self.DAYS)) == list(self.DAYS)

    def test_a_kind_that_no_cell_fits_is_refused(self, read: Read) -> None:
        with pytest.raises(SchemaError, match=r"kind datetime .* none of its 4 cells"):
            read(["x", "y"] * 2, kind=Kind.DATETIME)

    def test_a_later_file_is_read_likewise_and_may_have_dates(
        self, read: Read, tmp_path: Path
    ) -> None:
        table = read(self.DAYS, dates="day_first")
        schema = infer_schema(table.frame, {"a": ColumnOverride(kind=Kind.DATETIME)})
        again = read_by_schema([tmp_path / "table.parquet"], schema, table.findings.forms)
        assert column(again) == column(table)
        path = tmp_path / "dates.parquet"
        pq.write_table(pa.table({"a": [date(2024, 3, 1)] * 5, "row": range(5)}), path)
        assert column(read_by_schema([path], schema, table.findings.forms)) == (
            [datetime(2024, 3, 1)] * 5
        )


class TestNullValues:
    @pytest.mark.parametrize(
        ("values", "null"), [([1, -999], "-999"), ([1.5, -999.0], "-999"), (["a", "?"], "?")]
    )
    def test_they_are_null(self, read: Read, tmp_path: Path, values: Any, null: str) -> None:
        table = read(values * 10, null_values=(null,))
        assert column(table) == [values[0], None] * 10
        schema = infer_schema(table.frame, {"a": ColumnOverride(kind=Kind.CATEGORICAL)})
        again = read_by_schema([tmp_path / "table.parquet"], schema, table.findings.forms)
        assert column(again) == [str(values[0]), None] * 10

    def test_not_of_dates(self, read: Read) -> None:
        with pytest.raises(SchemaError, match=r"null_values .* for text and numbers.*date32"):
            read([date(2024, 1, 1)] * 3, null_values=("2024-01-01",))


class TestSaid:
    """What a person may not have seen in a file is told, and how to have it otherwise."""

    def test_text_that_is_something_else(self, read: Read) -> None:
        said = read([f"2024-{month:02d}-01" for month in range(1, 13)]).findings.describe()
        assert "a: text that is dates, year first; kind: datetime in the file of --schema" in said
        assert read(["x", "2024-01-01"] * 9).findings.describe() == ""

    def test_of_codes_there_is_nothing_to_say(self, read: Read) -> None:
        assert read(["1", "2", "3"] * 9).findings.describe() == ""
        said = read([str(number) for number in range(200)]).findings.describe()
        assert "a: text that is whole numbers; kind: integer" in said

    def test_times_are_seconds(self, read: Read) -> None:
        assert "a: lengths of time, as seconds" in read([timedelta(1)] * 9).findings.describe()

    @pytest.mark.parametrize("kind", [pa.int64(), pa.int32(), pa.float64()])
    def test_numbers_that_are_days(self, read: Read, kind: pa.DataType) -> None:
        days = [date(2023, 1, 1) + timedelta(number) for number in range(365)]
        numbers = pa.array([*(int(f"{day:%Y%m%d}") for day in days), None]).cast(kind)
        said = read(numbers).findings.describe()
        assert "a: whole numbers that are all days, such as 20230101; kind: datetime" in said
        table = read(numbers, kind=Kind.DATETIME)
        assert column(table) == [*(datetime(day.year, day.month, day.day) for day in days), None]
        assert "days" not in table.findings.describe()
