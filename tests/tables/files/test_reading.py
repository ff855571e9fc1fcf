"""Tables from files: what a CSV's cells become, and what is refused and why."""

from __future__ import annotations

import csv
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cascade_tables import (
    Column,
    ColumnOverride,
    DataError,
    Frame,
    Kind,
    Schema,
    SchemaError,
    read_table,
)
from cascade_tables.files.csv_files import BLOCK
from cascade_tables.files.forms import NULLS
from cascade_tables.files.reading import read_files
from hypothesis import given, settings
from hypothesis import strategies as st


def written(tmp_path: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def cells(tmp_path: Path, *values: str) -> Any:
    """The column that a CSV file with these cells gives."""
    text = "a,b\n" + "".join(f"{value},x\n" for value in values)
    return read_table(written(tmp_path, text))["a"]


class TestCsvCells:
    @pytest.mark.parametrize(
        ("values", "arrow_type", "expected"),
        [
            (["true", "FALSE", ""], "bool", [True, False, None]),
            (["1", "-2", "+3"], "int64", [1, -2, 3]),
            (["0", "9223372036854775807"], "int64", [0, 2**63 - 1]),
            (["1", "9223372036854775808"], "double", [1.0, float(2**63)]),
            (["1", "2.5", "1e3", "NaN"], "double", [1.0, 2.5, 1000.0, None]),
            (["-0.5", ".5", "NAN"], "double", [-0.5, 0.5, None]),
            (["2024-01-31", "NA"], "timestamp[us]", [datetime(2024, 1, 31), None]),
            (
                ["2024-01-31T12:00:00.5", "2024-01-31 12:00:00+05:00", "2024-01-31T00:00Z"],
                "timestamp[us]",
                [
                    datetime(2024, 1, 31, 12, microsecond=500_000),
                    datetime(2024, 1, 31, 7),
                    datetime(2024, 1, 31),
                ],
            ),
            (["007", "42"], "string", ["007", "42"]),
            (["00.5", "1"], "string", ["00.5", "1"]),
            (["1_000", "2"], "string", ["1_000", "2"]),
            ([" 1", "2 ", "  "], "int64", [1, 2, None]),
            ([" x", "2"], "string", [" x", "2"]),
            (["١", "٢"], "string", ["١", "٢"]),
            (["٠.٥", "1"], "string", ["٠.٥", "1"]),
            (["+", "-"], "string", ["+", "-"]),
            (["1", "x"], "string", ["1", "x"]),
            (["12-34", "2024-13-01"], "string", ["12-34", "2024-13-01"]),
            (["None", "null", "N/A"], "string", [None, None, None]),
            (['"a ""b"", c"', '"two\nlines"'], "string", ['a "b", c', "two\nlines"]),
        ],
    )
    def test_a_column_is_of_the_narrowest_kind_that_fits(
        self, tmp_path: Path, values: list[str], arrow_type: str, expected: list[Any]
    ) -> None:
        column = cells(tmp_path, *values)
        assert (column.arrow_type, column.to_list()) == (arrow_type, expected)

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_line_endings_a_byte_order_mark_and_blank_lines_do_not_matter(
        self, tmp_path: Path, end: str
    ) -> None:
        text = "\ufeff" + end.join(["", "a,b", "1,x", "", "2,y", ""])
        rows = read_table(written(tmp_path, text)).to_rows()
        assert rows == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]

    def test_one_row_and_only_nulls_can_be_read(self, tmp_path: Path) -> None:
        frame = read_table(written(tmp_path, "a,b\n,NA\n"))
        assert frame.to_rows() == [{"a": None, "b": None}]

    def test_the_suffix_may_be_in_capitals(self, tmp_path: Path) -> None:
        assert len(read_table(written(tmp_path, "a\n1\n", "TABLE.CSV"))) == 1


class TestBadCsv:
    @pytest.mark.parametrize(
        ("content", "parts"),
        [
            ("a,b\n1,2\n1,2,3\n", ["line 3: 3 fields", "2 columns"]),
            ("a,b\n1,2\n\n1\n", ["line 4: 1 field,", "2 columns"]),
            ("a,b,a,c,b\n1,2,3,4,5\n", ["duplicate column names: 'a', 'b'"]),
            (",\n1,2\n", ["none of its 2 columns has a name"]),
            ("a,b\n", ["has a header but no rows"]),
            ("", ["is empty", "a header line and rows"]),
            ("\n\n", ["is empty"]),
            ("\ufeff", ["is empty"]),
            (b"a,b\ncaf\xe9,1\n", ["is not UTF-8 text: line 2, byte 4 is 0xe9"]),
            (b"a,b\n" + b"1,x\n" * 9000 + b"1,\xe7\n", ["line 9,002, byte 3 is 0xe7"]),
            (b"a\n1,2\n", ["line 2: 2 fields", "1 column"]),
            (b"# made by x\n\na,b\n1,2\n", ["line 3: 2 fields", "1 column"]),
            (b"a\n\xed\xa0\x80\n", ["is not UTF-8 text"]),
            (
                "a,b\n1,2\n".encode("utf-16-le"),
                ["is not UTF-8 text: its first line has zero bytes"],
            ),
            (b"\xff\xfea\x00\n\x00\x00\xd8", ["is not utf-16 text", "--encoding"]),
            ('a,b\n1,2\n"3,4\n5,6\n', ["line 4", "unexpected end of data"]),
            ('a,b\n"1"x,2\n', ["line 2", "',' expected after '\"'"]),
            ("a,b\n" + "x" * (2 * BLOCK) + ",1\n", ["a line is longer than 8,388,608 bytes"]),
        ],
        ids=[
            "a longer line",
            "a shorter line",
            "duplicate names",
            "no names",
            "no rows",
            "an empty file",
            "blank lines",
            "a byte order mark",
            "latin-1",
            "latin-1 far down",
            "a comma in a file of one column",
            "a preamble",
            "a surrogate",
            "utf-16 without a mark",
            "half of a utf-16 letter",
            "an unterminated quote",
            "text after a quote",
            "a huge cell",
        ],
    )
    def test_it_is_refused(self, tmp_path: Path, content: str | bytes, parts: list[str]) -> None:
        path = written(tmp_path, content)
        with pytest.raises(DataError) as caught:
            read_table(path)
        for part in [str(path), *parts]:
            assert part in str(caught.value)


FRAGMENTS = st.sampled_from(
    [
        *("a", "1", "2.5", ",", ";", "\t", "|", '"', '""', "\n", "\r\n", "\r", " ", "?", "1,234"),
        *("31/12/2024", "12:30", "%", "$5", "", "é", "\0", '"x\ny"', "-", "007", "NaN", "inf"),
        *("1e999", "9" * 25, "(5)", "Jan 5, 2024", "\ufeff", "0001-01-01 00:00+05:00", "\x1f\x8b"),
    ]
)
CELLS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


class TestAnyText:
    """Whatever is in a file, it is read or refused, and what was read is as long as its rows."""

    @settings(max_examples=150, deadline=None)
    @given(st.lists(FRAGMENTS).map("".join), st.sampled_from(["", "a,b\n"]))
    def test_of_fragments(
        self, tmp_path_factory: pytest.TempPathFactory, text: str, header: str
    ) -> None:
        path = written(tmp_path_factory.getbasetemp(), header + text, "fragments.csv")
        try:
            read = read_files([path])
        except DataError:
            return
        assert len(read.frame.to_rows()) == len(read.frame) > 0
        assert all(0 < each.count <= each.present for each in read.findings.odd)

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.lists(
                st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
                min_size=2,
                max_size=2,
            ),
            min_size=1,
        )
    )
    def test_what_was_written_as_categories_is_read(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "written.csv"
        with path.open("w", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
        kinds = {name: ColumnOverride(kind=Kind.CATEGORICAL) for name in "ab"}
        frame = read_files([path], kinds).frame
        found = [[row["a"], row["b"]] for row in frame.to_rows()]
        assert found == [[None if cell in NULLS else cell for cell in row] for row in rows]


class TestParquet:
    def test_types_come_back(self, tmp_path: Path) -> None:
        table = pa.table({"a": pa.array([1, None], pa.int8()), "b": ["x", "y"]})
        for suffix in ("parquet", "pq"):
            path = tmp_path / f"table.{suffix}"
            pq.write_table(table, path)
            assert read_table(path).to_arrow().equals(table)

    def test_a_folder_of_parts_is_one_table(self, tmp_path: Path) -> None:
        folder = tmp_path / "table.parquet"
        folder.mkdir()
        for part in (1, 2):
            pq.write_table(pa.table({"a": [part]}), folder / f"part-{part}.parquet")
        assert read_table(folder)["a"].to_list() == [1, 2]

    @pytest.mark.parametrize("keep", [0, 3, 200, -8])
    def test_a_truncated_file_is_refused(self, tmp_path: Path, keep: int) -> None:
        path = tmp_path / "table.parquet"
        pq.write_table(pa.table({"a": list(range(1000))}), path)
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(DataError) as caught:
            read_table(path)
        assert f"{path} cannot be read as Parquet: " in str(caught.value)

    @pytest.mark.parametrize("at", [0, 60, 2000, -300, -6])
    def test_a_damaged_file_is_refused(self, tmp_path: Path, at: int) -> None:
        path = tmp_path / "table.parquet"
        pq.write_table(pa.table({"a": [f"value {i}" for i in range(1000)]}), path)
        content = bytearray(path.read_bytes())
        content[at : at + 6 if at != -6 else None] = b"\xff" * 6
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_table(path)
        assert f"{path} cannot be read as Parquet: " in str(caught.value)

    @pytest.mark.parametrize(
        ("table", "parts"),
        [
            (pa.table({"ok": [1], "odd": [[1, 2]]}), ["column 'odd' has type list<", "allowed: "]),
            (pa.table([[1], [2]], names=["a", "a"]), ["duplicate column names: 'a'"]),
            (pa.table({"a": pa.array([], pa.int64())}), ["has no rows"]),
            (pa.table({}), ["has no rows"]),
        ],
        ids=["a list column", "duplicate names", "no rows", "no columns"],
    )
    def test_it_is_refused(self, tmp_path: Path, table: pa.Table, parts: list[str]) -> None:
        path = tmp_path / "table.parquet"
        pq.write_table(table, path)
        with pytest.raises(DataError) as caught:
            read_table(path)
        for part in [str(path), *parts]:
            assert part in str(caught.value)


class TestFiles:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"nowhere\.csv does not exist"):
            read_table(tmp_path / "nowhere.csv")

    @pytest.mark.parametrize("name", ["table.xlsx", "table", "table.gz"])
    def test_an_unknown_suffix(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(DataError) as caught:
            read_table(written(tmp_path, "a\n1\n", name))
        assert name in str(caught.value)
        assert "allowed: .csv, .tsv, .txt" in str(caught.value)

    def test_a_folder_is_not_a_csv_file(self, tmp_path: Path) -> None:
        (tmp_path / "folder.csv").mkdir()
        with pytest.raises(DataError, match=r"folder\.csv cannot be read: Is a directory"):
            read_table(tmp_path / "folder.csv")


def test_where_there_is_no_pyarrow_it_is_said_what_to_install(tmp_path: Path) -> None:
    """As where the server is installed and nothing else."""
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pathlib import Path; from cascade_tables import DataError, read_table\n"
        "try:\n    read_table(Path('x.csv'))\nexcept DataError as exc:\n    print(exc)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert said.stdout == "reading x.csv needs pyarrow: pip install 'cascade-synthesis[distill]'\n"


class TestWideHeaders:
    """The time that a header takes grows with its columns, not with their square: with that, these
    would take longer than a test may."""

    NAMES = tuple(f"column_{at}" for at in range(200_000))

    def test_names_that_differ(self, tmp_path: Path) -> None:
        path = tmp_path / "wide.csv"
        path.write_text(",".join(self.NAMES) + "\n")
        with pytest.raises(DataError, match="has a header but no rows"):
            read_table(path)

    def test_names_that_repeat(self, tmp_path: Path) -> None:
        path = tmp_path / "wide.csv"
        path.write_text(",".join(self.NAMES * 2) + "\n")
        with pytest.raises(DataError) as caught:
            read_table(path)
        assert "duplicate column names: 'column_0', 'column_1', " in str(caught.value)
        assert str(caught.value).endswith("'column_11' and 199,988 more")

    def test_in_arrow_and_pandas(self) -> None:
        names = [*self.NAMES, "column_7"]
        table = pa.table([pa.array([1])] * len(names), names=names)
        with pytest.raises(DataError, match="duplicate column names: 'column_7'"):
            Frame.from_arrow(table)

    def test_in_a_schema(self) -> None:
        columns = tuple(Column(name, Kind.BOOLEAN, False, "bool") for name in self.NAMES)
        schema = Schema(columns)
        assert [schema[name] for name in self.NAMES] == list(columns)
        with pytest.raises(SchemaError, match="column names repeat: 'column_7'"):
            Schema((*columns, columns[7]))
