"""What spreadsheets and instruments write around the cells, and cells that stand for NULL."""

from __future__ import annotations

from pathlib import Path

import pytest
from cascade_tables import DataError, Kind, SchemaError, load_overrides
from cascade_tables.files.reading import read_files
from cascade_tables.files.table import Table
from cascade_tables.overrides import ColumnOverride


def read(folder: Path, text: str, delimiter: str | None = None, **said: ColumnOverride) -> Table:
    path = folder / "read.csv"
    path.write_text(text, "utf-8")
    return read_files([path], said, delimiter=delimiter)


class TestTheLineThatSaysTheDelimiter:
    @pytest.mark.parametrize("mark", ["sep=;", "SEP=;", '"sep=;"', "\ufeffsep=;"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_it_is_no_header(self, tmp_path: Path, mark: str, end: str) -> None:
        """Though commas would suit the header and the lines better."""
        text = end.join([mark, "a,x;b,y", "1,5;u", "2,5;v", ""])
        assert read(tmp_path, text).frame.to_rows() == [
            {"a,x": 1.5, "b,y": "u"},
            {"a,x": 2.5, "b,y": "v"},
        ]

    def test_a_person_s_own_is_another(self, tmp_path: Path) -> None:
        table = read(tmp_path, "sep=,\na;b\n1;2\n3;4\n", delimiter=";")
        assert list(table.frame.columns) == ["a", "b"]

    def test_lines_are_counted_with_it(self, tmp_path: Path) -> None:
        rows = "".join(f"{i};{i % 2}\n" for i in range(40))
        found = read(tmp_path, f"sep=;\n\na;b\n{rows}?;1\n").findings.odd
        assert found[0].places == ("line 44",)
        with pytest.raises(DataError, match="line 44: 3 fields"):
            read(tmp_path, f"sep=;\n\na;b\n{rows}1;2;3\n")
        with pytest.raises(DataError, match="line 44: "):
            read(tmp_path, f'sep=;\n\na;b\n{rows}"1"x;2\n')


class TestNumbersThatStandForNull:
    @pytest.mark.parametrize("said", ["-999", "-999.0", '"-999"', '"-999.00"'])
    @pytest.mark.parametrize("written", ["-999", "-999.0", "-999.", " -999.00"])
    def test_however_they_are_written(self, tmp_path: Path, said: str, written: str) -> None:
        path = tmp_path / "schema.yaml"
        path.write_text(f"columns: {{a: {{null_values: [{said}]}}}}")
        cells = [written if i % 3 == 0 else f"{i}.5" for i in range(30)]
        text = "a,b\n" + "".join(f"{cell},{i % 2}\n" for i, cell in enumerate(cells))
        values = read(tmp_path, text, **load_overrides(path)).frame["a"].to_list()
        assert values == [None if i % 3 == 0 else i + 0.5 for i in range(30)]

    def test_others_are_numbers(self, tmp_path: Path) -> None:
        cells = ["-9990", "-999.5", "999", "-99.9", "9.90", "9.9", "9.99"]
        text = "a,b\n" + "".join(f"{cell},{i % 2}\n" for i, cell in enumerate(cells))
        said = ColumnOverride(null_values=("-999", "9.9"))
        values = read(tmp_path, text, a=said).frame["a"].to_list()
        assert values == [-9990.0, -999.5, 999.0, -99.9, None, None, 9.99]

    def test_text_is_as_it_is_written(self, tmp_path: Path) -> None:
        said = ColumnOverride(kind=Kind.CATEGORICAL, null_values=("1",))
        values = read(tmp_path, "a,b\n1.0,0\n1,1\n2,0\n", a=said).frame["a"].to_list()
        assert values == ["1.0", None, "2"]

    @pytest.mark.parametrize("odd", ["true", ".inf", ".nan", "[1]"])
    def test_what_no_cell_can_say_is_refused(self, tmp_path: Path, odd: str) -> None:
        path = tmp_path / "schema.yaml"
        path.write_text(f"columns: {{a: {{null_values: [{odd}]}}}}")
        with pytest.raises(SchemaError, match="a list of texts and finite numbers"):
            load_overrides(path)


class TestBlankLines:
    def test_those_between_the_rows_of_one_column_are_named(self, tmp_path: Path) -> None:
        table = read(tmp_path, "\na\n1\n\n2\n\n\n3\n\n\n")
        assert table.frame["a"].to_list() == [1, 2, 3]
        assert "3 blank lines between its rows are no rows (lines 4, 6, 7)" in (
            table.findings.describe()
        )

    @pytest.mark.parametrize("text", ["a\n1\n2\n\n", "\n\na\n1\n2\n", "a,b\n1,2\n\n3,4\n"])
    def test_others_nobody_would_take_for_rows(self, tmp_path: Path, text: str) -> None:
        assert read(tmp_path, text).findings.notes == ()


class TestFileWithoutNames:
    """Its first row is taken for names, which is told."""

    @pytest.mark.parametrize("text", ["41,9.5,bar\n40,9.25,foo\n90,10,bar\n", "3\n1\n5\n"])
    def test_it_is_told(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "t.csv"
        path.write_text(text)
        assert f"{path}: its first line is taken for names, and looks like a row" in (
            read_files([path]).findings.describe()
        )

    @pytest.mark.parametrize(
        "text",
        [
            "land,2020,2021\nde,1,3000\nfr,2,4000\n",  # a column a year
            "0,1,2\n0,1,2\n5,5,5\n",  # what pandas calls columns
            "a,b\nx,1\na,2\n",
            "a,b\nx,y\na,b\n",
        ],
    )
    def test_names_are_left_alone(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "t.csv"
        path.write_text(text)
        assert "names" not in read_files([path]).findings.describe()


def test_odd_cells_are_named_each_once(tmp_path: Path) -> None:
    table = read(tmp_path, "a\n" + "1\n2\n3\n4\n5\n6\n-\n-\n-\n?\n" * 5)
    (found,) = table.findings.as_text
    assert (found.values, found.places) == (("-", "?"), ("line 8", "line 9", "line 10"))
