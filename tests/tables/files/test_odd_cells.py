"""Columns of which a few cells are not what the others are, and columns written in unusual ways."""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cascade_tables import (
    ColumnOverride,
    DataError,
    Kind,
    SchemaError,
    infer_schema,
    read_table,
)
from cascade_tables.files.forms import Form, Type
from cascade_tables.files.reading import read_files
from cascade_tables.files.table import Table


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Table]:
    """Reads a file of one column, beside one that says which row it is."""

    def read(
        cells: Sequence[str], override: ColumnOverride | None = None, delimiter: str = ","
    ) -> Table:
        path = tmp_path / "table.csv"
        rows = (f'{i}{delimiter}"{cell}"\n' for i, cell in enumerate(cells))
        path.write_text(f"row{delimiter}a\n" + "".join(rows))
        return read_files([path], {"a": override} if override else None)

    return read


Read = Callable[..., Table]
NUMBERS = [str(number) for number in range(100, 198)]


class TestFew:
    @pytest.mark.parametrize(
        "odd", ["?", "#N/A", "-", "n.a.", "unknown", "12abc", "1.2.3", "31/12/2024"]
    )
    def test_they_are_null_and_named_with_their_lines(self, table: Read, odd: str) -> None:
        read = table([*NUMBERS[:50], odd, *NUMBERS[50:], odd])
        column = read.frame["a"]
        assert column.to_list() == [*range(100, 150), None, *range(150, 198), None]
        (found,) = read.findings.odd
        assert (found.column, found.count, found.present) == ("a", 2, 100)
        assert (found.values, found.places) == ((odd,), ("line 52", "line 101"))
        assert f"2 of 100 cells (2 %): {odd!r} (line 52, line 101)" in read.findings.describe()

    def test_in_dates(self, table: Read) -> None:
        days = [f"2024-03-{day:02}" for day in range(1, 31)]
        read = table([*days, "0000-00-00"])
        assert read.frame["a"].to_list() == [*(datetime(2024, 3, d) for d in range(1, 31)), None]
        assert read.findings.odd[0].values == ("0000-00-00",)

    def test_in_booleans(self, table: Read) -> None:
        read = table(["true", "false"] * 20 + ["?"])
        assert read.frame["a"].to_list() == [True, False] * 20 + [None]

    def test_lines_are_counted_as_an_editor_does(self, tmp_path: Path) -> None:
        rows = [f'"two\nlines",{number}\n' for number in range(30)]
        path = tmp_path / "table.csv"
        path.write_text("\n" + "b,a\n" + "".join(rows) + "\n\n" + "x,?\n")
        (found,) = read_files([path]).findings.odd
        assert path.read_text().splitlines()[64] == "x,?"
        assert found.places == ("line 65",)

    def test_an_odd_cell_far_down_changes_no_type(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        numbers = np.arange(900_000) % 1000
        cells = "\n".join(map("{:016}".format, numbers + 10**15))
        path.write_text(f"a\n{cells}\n?\n")
        read = read_files([path])
        assert path.stat().st_size > 8 << 20
        assert np.array_equal(read.frame["a"].values[:-1], numbers + 10**15)
        assert read.frame["a"].to_list()[-1] is None
        assert read.findings.odd[0].places == ("line 900,002",)

    def test_a_known_file_loses_no_cell(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_text("a\n" + "\n".join([*NUMBERS, "?"]) + "\n")
        assert read_table(path)["a"].to_list() == [*NUMBERS, "?"]


class TestMore:
    CELLS = (*NUMBERS[:50], *NUMBERS[:48], *["?"] * 20)

    def test_the_column_is_text_and_it_is_said_why(self, table: Read) -> None:
        read = table(self.CELLS)
        assert read.frame["a"].to_list() == list(self.CELLS)
        assert read.findings.odd == ()
        (found,) = read.findings.as_text
        assert (found.count, found.present, found.values) == (20, 118, ("?",))
        assert found.places == ("line 100", "line 101", "line 102")
        described = read.findings.describe()
        assert "a: 20 of 118 cells (16.9 %): '?' (line 100, line 101, line 102, …)" in described
        assert "null_values: ['?']" in described

    @pytest.mark.parametrize(
        "override",
        [ColumnOverride(null_values=("?",)), ColumnOverride(kind=Kind.INTEGER)],
        ids=["null_values", "kind"],
    )
    def test_what_the_message_proposes_helps(self, table: Read, override: ColumnOverride) -> None:
        read = table(self.CELLS, override)
        assert read.frame["a"].to_list() == [*range(100, 150), *range(100, 148), *[None] * 20]
        schema = infer_schema(read.frame, read.overrides, read.findings.left_out)
        assert (schema["a"].kind, schema["a"].nullable) == (Kind.INTEGER, True)

    def test_text_of_which_little_is_a_number_needs_no_word(self, table: Read) -> None:
        read = table(["x", "y", "1"] * 20)
        assert read.findings.describe() == ""

    def test_a_kind_that_no_cell_fits_is_refused(self, table: Read) -> None:
        with pytest.raises(SchemaError, match=r"'a': kind integer .* none of its 3 cells .* read"):
            table(["x", "y", "z"], ColumnOverride(kind=Kind.INTEGER))

    def test_a_column_of_nulls_fits_every_kind(self, table: Read) -> None:
        assert (
            table(["", "NA"], ColumnOverride(kind=Kind.INTEGER)).frame["a"].to_list() == [None] * 2
        )


class TestForms:
    @pytest.mark.parametrize(
        ("cells", "expected", "says"),
        [
            (["1,234", "56", "7,000,000"], [1234, 56, 7_000_000], "whole numbers, written as"),
            (["1,234.50", "$7"], [1234.5, 7.0], "'$' taken off"),
            (["12.5%", "3%"], [12.5, 3.0], "'%' taken off"),
            (["13:45:00", "00:00"], [49_500, 0], "seconds since midnight"),
            (
                ["31/12/2024", "1/2/2024"],
                [datetime(2024, 12, 31), datetime(2024, 2, 1)],
                "day first",
            ),
            (
                ["12/31/2024", "1/2/2024"],
                [datetime(2024, 12, 31), datetime(2024, 1, 2)],
                "month first",
            ),
            (
                ["31.12.2024", "01.02.2024"],
                [datetime(2024, 12, 31), datetime(2024, 2, 1)],
                "day first",
            ),
            (["1.234,5", "1.234"], [1234.5, 1234.0], "1.234,5"),
            (["7"] * 99 + ["1,234"], [7] * 99 + [1234], "1,234.5"),
        ],
    )
    def test_unusual_ones_are_understood_and_told(
        self, table: Read, cells: list[str], expected: list[object], says: str
    ) -> None:
        read = table(cells)
        assert read.frame["a"].to_list() == expected
        assert says in read.findings.describe()

    def test_usual_ones_are_not_told(self, table: Read) -> None:
        assert table(["1.5", " 2", "2024"]).findings.describe() == ""

    def test_a_comma_before_three_digits(self, table: Read) -> None:
        assert table(["1,234", "5,678"]).frame["a"].to_list() == [1234, 5678]
        assert table(["1,234", "5,678"], delimiter=";").frame["a"].to_list() == [1.234, 5.678]

    def test_days_and_months_that_cannot_be_told_apart_are_said_to_be_so(self, table: Read) -> None:
        read = table(["01/02/2024", "03/04/2024"])
        assert read.frame["a"].to_list() == [datetime(2024, 1, 2), datetime(2024, 3, 4)]
        assert "a: nothing shows whether days or months come first" in read.findings.describe()
        read = table(["01/02/2024", "03/04/2024"], ColumnOverride(dates="day_first"))
        assert read.frame["a"].to_list() == [datetime(2024, 2, 1), datetime(2024, 4, 3)]
        assert "nothing shows" not in read.findings.describe()

    def test_an_order_of_days_is_for_dates(self, table: Read) -> None:
        with pytest.raises(SchemaError, match="'a': dates in the overrides has no effect on whole"):
            table(["1", "2"], ColumnOverride(dates="day_first"))

    def test_codes_that_begin_with_zeros_are_text(self, table: Read) -> None:
        read = table([*NUMBERS, "007"])
        assert read.frame["a"].to_list() == [*NUMBERS, "007"]
        assert read.findings.as_text[0].values == ("007",)
        read = table([*NUMBERS, "007"], ColumnOverride(kind=Kind.INTEGER))
        assert read.frame["a"].to_list() == [*range(100, 198), 7]

    def test_two_currencies_are_no_column_of_numbers(self, table: Read) -> None:
        cells = ["$5", "€7"] * 20
        assert table(cells).frame["a"].to_list() == cells

    @pytest.mark.parametrize(
        "cells", [["1.0", "2.0"], ["1,234", "5"], ["2024-03-05", "2024-03-06"], ["true", "false"]]
    )
    def test_categories_stay_as_they_are_written(self, table: Read, cells: list[str]) -> None:
        read = table(cells * 5, ColumnOverride(kind=Kind.CATEGORICAL))
        assert read.frame["a"].to_list() == cells * 5
        column = infer_schema(read.frame, read.overrides)["a"]
        assert (set(column.categories), column.dtype) == (set(cells), "string")

    def test_they_come_back_from_json(self, table: Read) -> None:
        forms = table(["31.12.2024", "01.02.2024"]).findings.forms
        assert Form.from_dict(forms["a"].to_dict()) == forms["a"]
        with pytest.raises(SchemaError, match="does not say how cells are written"):
            Form.from_dict({"type": "nothing"})


class TestLeftOut:
    def test_a_column_without_a_name_is_called_by_its_place(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_text(",age,grp\n" + "".join(f"{i},{i % 50},{'ABC'[i % 3]}\n" for i in range(60)))
        read = read_files([path])
        assert list(read.frame.columns) == ["column_1", "age", "grp"]
        assert "column_1: the column has no name" in read.findings.describe()
        schema = infer_schema(read.frame, read.overrides, read.findings.left_out)
        assert [(d.name, d.reason) for d in schema.dropped] == [
            ("column_1", "row number: 0 to 59, each once")
        ]

    def test_it_can_be_dropped_by_no_name(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_text(",a\n5,1\n5,2\n")
        read = read_files([path], {"": ColumnOverride(drop=True)})
        schema = infer_schema(read.frame, read.overrides, read.findings.left_out)
        assert [(d.name, d.reason) for d in schema.dropped] == [
            ("column_1", "asked for in the overrides")
        ]

    def test_of_two_without_a_name_none_is_meant_by_no_name(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_text(",,a\n5,1,1\n5,2,2\n")
        with pytest.raises(SchemaError, match=r"2 columns have no name; .* 'column_1', 'column_2'"):
            read_files([path], {"": ColumnOverride(drop=True)})

    @pytest.mark.parametrize("drop", [True, False])
    def test_columns_of_parquet_files_that_cannot_be_modelled(
        self, tmp_path: Path, drop: bool
    ) -> None:
        path = tmp_path / "table.parquet"
        odd = {"list": [[1], [2]] * 5, "struct": [{"a": 1}] * 10, "binary": [b"x", b"y"] * 5}
        pq.write_table(pa.table({**odd, "n": list(range(2)) * 5}), path)
        overrides = {name: ColumnOverride(drop=True) for name in odd} if drop else {}
        read = read_files([path], overrides)
        schema = infer_schema(read.frame, read.overrides, read.findings.left_out)
        assert schema.names == ("n",)
        assert [d.name for d in schema.dropped] == list(odd)
        if not drop:
            assert "list<" in schema.dropped[0].reason

    @pytest.mark.parametrize(
        "name", ["id", "user_id", "PolicyNumber", "accountRef", "ID", "customerid"]
    )
    def test_whole_numbers_that_differ_and_are_called_identifiers(
        self, tmp_path: Path, name: str
    ) -> None:
        numbers = np.random.default_rng(0).integers(0, 10**12, 300).tolist()
        path = tmp_path / "table.csv"
        path.write_text(f"{name},a\n" + "".join(f"{n},{i % 7}\n" for i, n in enumerate(numbers)))
        read = read_files([path])
        schema = infer_schema(read.frame)
        assert [d.name for d in schema.dropped] == [name]
        assert schema.dropped[0].reason.endswith("and all 300 values differ")
        assert "to keep one, name its kind" in schema.describe()
        assert name in infer_schema(read.frame, {name: ColumnOverride(kind=Kind.INTEGER)}).names

    @pytest.mark.parametrize(
        ("name", "shortest"),
        # Of what is no measure, numbers of one length are identifiers whatever they are called.
        [("amount", 11), ("paid", 11), ("width", 11), ("notes", 2), ("video", 2)],
    )
    def test_other_names_are_kept(self, tmp_path: Path, name: str, shortest: int) -> None:
        digits = np.random.default_rng(0).uniform(shortest, 12, 300)
        numbers = (10**digits).astype(np.int64).tolist()
        path = tmp_path / "table.csv"
        path.write_text(f"{name},a\n" + "".join(f"{n},{i % 7}\n" for i, n in enumerate(numbers)))
        assert infer_schema(read_files([path]).frame).names == (name, "a")


class TestFiles:
    ROWS = ({"a": 1, "b": "x"}, {"a": 2, "b": "ü"})

    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    def test_delimiters_are_found(self, tmp_path: Path, delimiter: str) -> None:
        path = tmp_path / "table.csv"
        path.write_text(f"a{delimiter}b\n1{delimiter}x\n2{delimiter}ü\n")
        assert read_files([path]).frame.to_rows() == list(self.ROWS)

    def test_commas_in_text_do_not_make_columns(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_text("name;price\n" + "a, b;1,5\n" * 30)
        assert read_files([path]).frame.to_rows() == [{"name": "a, b", "price": 1.5}] * 30

    def test_one_line_that_does_not_fit_makes_no_table_of_one_column(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_text("a,b\n" + "1,2\n" * 50 + "1,2,3\n")
        with pytest.raises(DataError, match="line 52: 3 fields, but the header names 2 columns"):
            read_files([path])

    def test_a_delimiter_can_be_named(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_text("a:b\n1:x\n2:ü\n")
        assert read_files([path], delimiter=":").frame.to_rows() == list(self.ROWS)
        with pytest.raises(DataError, match="'::' cannot separate columns; allowed: one character"):
            read_files([path], delimiter="::")

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
    def test_marks_of_encodings_are_understood(self, tmp_path: Path, encoding: str) -> None:
        path = tmp_path / "table.csv"
        path.write_bytes("a,b\n1,x\n2,ü\n".encode(encoding))
        assert read_files([path]).frame.to_rows() == list(self.ROWS)

    @pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "gb18030"])
    def test_others_are_named(self, tmp_path: Path, encoding: str) -> None:
        path = tmp_path / "table.csv"
        path.write_bytes("a,b\n1,x\n2,ü\n".encode(encoding))
        with pytest.raises(DataError, match=r"is not UTF-8 text: .*--encoding names another"):
            read_files([path])
        assert read_files([path], encoding=encoding).frame.to_rows() == list(self.ROWS)

    def test_an_encoding_that_nobody_knows(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_text("a\n1\n")
        with pytest.raises(DataError, match="'klingon' is no known encoding; such are utf-8"):
            read_files([path], encoding="klingon")

    def test_gzip(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv.gz"
        content = gzip.compress("a,b\n1,x\n2,ü\n".encode())
        path.write_bytes(content)
        assert read_files([path]).frame.to_rows() == list(self.ROWS)
        path.write_bytes(content[:-10])
        with pytest.raises(DataError, match=r"table\.csv\.gz is damaged"):
            read_files([path])

    def test_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = SimpleNamespace(buffer=io.BytesIO("a,b\n1,x\n2,ü\n".encode()))
        monkeypatch.setattr(sys, "stdin", stream)
        assert read_files([Path("-")]).frame.to_rows() == list(self.ROWS)

    def test_several_are_one_table(self, tmp_path: Path) -> None:
        first, second = tmp_path / "1.csv", tmp_path / "2.csv"
        first.write_text("a,b\n" + "1,x\n" * 30)
        second.write_text("b;a\n" + "y;2\n" * 30 + "y;?\n")
        read = read_files([first, second])
        assert read.frame["a"].to_list() == [1] * 30 + [2] * 30 + [None]
        assert read.frame["b"].to_list() == ["x"] * 30 + ["y"] * 31
        assert read.findings.odd[0].places == (f"{second}, line 32",)

    def test_several_have_the_same_columns(self, tmp_path: Path) -> None:
        first, second = tmp_path / "1.csv", tmp_path / "2.csv"
        first.write_text("a,b\n1,x\n")
        second.write_text("a,c\n1,x\n")
        with pytest.raises(DataError, match="it lacks 'b' and has 'c' besides"):
            read_files([first, second])

    def test_several_parquet_files(self, tmp_path: Path) -> None:
        paths = [tmp_path / f"{n}.parquet" for n in (1, 2)]
        for n, path in enumerate(paths):
            pq.write_table(pa.table({"a": [n], "b": ["x"]}), path)
        assert read_files(paths).frame["a"].to_list() == [0, 1]
        text = tmp_path / "x.csv"
        text.write_text("a,b\n1,x\n")
        with pytest.raises(DataError, match="cannot be one table"):
            read_files([paths[0], text])

    def test_parquet_by_another_name(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        pq.write_table(pa.table({"a": [1]}), path)
        with pytest.raises(DataError, match=r"table\.csv is a Parquet file; call it \.parquet"):
            read_files([path])


def test_text_that_repeats_is_one_object(tmp_path: Path) -> None:
    """What a column of ten million rows needs of memory is eight bytes a row."""
    path = tmp_path / "table.csv"
    path.write_text("a\n" + "some longer text\nanother text\n" * 500)
    values = read_table(path)["a"].values
    assert len({id(value) for value in values}) == 2


def test_types_that_numbers_have_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a\n1.0\n2.0\n")
    assert read_files([path]).findings.forms["a"].type is Type.REAL


class TestDaysWithoutMarks:
    """A column of numbers such as 20241231 is one of days where a person says so."""

    CELLS = tuple(f"2024{month:02d}{day:02d}" for month in range(1, 13) for day in range(1, 29))

    def test_they_are_numbers_and_it_is_said_what_else_they_could_be(self, table: Read) -> None:
        read = table(self.CELLS)
        assert read.frame["a"].to_list() == [int(cell) for cell in self.CELLS]
        assert "a: whole numbers that are all days, such as 20240101" in read.findings.describe()
        assert "days" not in table(["20240199", *self.CELLS]).findings.describe()

    def test_they_are_days_where_that_is_named(self, table: Read) -> None:
        cells = [*self.CELLS, "", "20240230", "20240105.0", "2024-01-06"]
        read = table(cells, ColumnOverride(kind=Kind.DATETIME))
        days = read.frame["a"].to_list()
        assert days[:2] == [datetime(2024, 1, 1), datetime(2024, 1, 2)]
        assert days[-4:] == [None, None, datetime(2024, 1, 5), datetime(2024, 1, 6)]
        (odd,) = read.findings.odd
        assert odd.values == ("20240230",)
