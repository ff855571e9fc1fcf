"""A second file of a table is read by the schema of the first, whatever it alone would say."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cascade_tables import DataError, Frame, Kind, RareRule, infer_schema
from cascade_tables.files.forms import Form
from cascade_tables.files.reading import read_by_schema, read_files
from cascade_tables.files.table import Table
from cascade_tables.overrides import ColumnOverride


def again(tmp_path: Path, first: str, second: str, **overrides: ColumnOverride) -> Table:
    """The second file, by what the first was."""
    learnt, other = tmp_path / "learnt.csv", tmp_path / "other.csv"
    learnt.write_text(first)
    other.write_text(second)
    read = read_files([learnt], overrides)
    rule = RareRule(min_count=1)
    schema = infer_schema(read.frame, read.overrides, read.findings.left_out, rule)
    return read_by_schema([other], schema, read.findings.forms)


def lines(*cells: str) -> str:
    return "a,b\n" + "".join(f"{cell},{i % 2}\n" for i, cell in enumerate(cells))


class TestTypes:
    @pytest.mark.parametrize(
        ("first", "second", "expected"),
        [
            (["true", "false", "unknown"], ["true", "false"], ["true", "false"]),
            (["1.50", "2.25", "n.a."], ["1.50", "2.25"], ["1.50", "2.25"]),
            (["12.5", "7.25", ""], ["", ""], [None, None]),
            (["1.5", "2"], ["1", "2"], [1.0, 2.0]),
            (["1,234", "5"], ["5", "6"], [5, 6]),
            (["1.234,5", "1.234"], ["1.234", "5"], [1234.0, 5.0]),
            (
                ["31/12/2024", "1/2/2024"],
                ["1/2/2024", "3/4/2024"],
                [datetime(2024, 2, 1), datetime(2024, 4, 3)],
            ),
            (["13:45:00", "00:00"], ["00:01", "00:02"], [60, 120]),
            (["1.0", "3.0"], ["1", "2"], [1, 2]),
            (["007", "8"], ["8", "9"], ["8", "9"]),
        ],
    )
    def test_they_are_the_first_file_s(
        self, tmp_path: Path, first: list[str], second: list[str], expected: list[object]
    ) -> None:
        quoted = [f'"{cell}"' for cell in second]
        read = again(tmp_path, lines(*(f'"{cell}"' for cell in first)), lines(*quoted))
        assert read.frame["a"].to_list() == expected
        assert [type(value) for value in read.frame["a"].to_list()] == [type(v) for v in expected]
        assert read.findings.odd == ()

    def test_columns_are_the_first_file_s(self, tmp_path: Path) -> None:
        read = again(tmp_path, "a,b\n1,0\n1,1\n3,0\n", "extra,b,a\nx,1,3\nx,0,1\n")
        assert read.frame.to_rows() == [{"a": 3, "b": 1}, {"a": 1, "b": 0}]

    def test_a_column_that_is_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(
            DataError, match=r"other\.csv lacks 'b' of the columns that were learnt"
        ):
            again(tmp_path, lines("1", "2"), "a,c\n1,2\n")

    def test_delimiters_may_differ(self, tmp_path: Path) -> None:
        read = again(tmp_path, lines("1", "2"), "a;b\n1;0\n2;1\n")
        assert read.frame["a"].to_list() == [1, 2]

    def test_several_files_are_one_table(self, tmp_path: Path) -> None:
        learnt, second, third = (tmp_path / f"{n}.csv" for n in (1, 2, 3))
        learnt.write_text(lines("1", "2"))
        second.write_text("a,b\n" + "1,0\n" * 30)
        third.write_text("b,a\n0,?\n")
        read = read_files([learnt])
        again = read_by_schema([second, third], infer_schema(read.frame), read.findings.forms)
        assert again.frame["a"].to_list() == [1] * 30 + [None]
        assert again.findings.odd[0].places == (f"{third}, line 2",)


class TestMisfits:
    @pytest.mark.parametrize("odd", ["?", "1.5", "x"])
    def test_one_is_named_with_its_line(self, tmp_path: Path, odd: str) -> None:
        numbers = [str(number) for number in range(40)] * 2
        read = again(tmp_path, lines(*numbers), lines(*numbers[:30], odd))
        assert read.frame["a"].to_list() == [*range(30), None]
        (found,) = read.findings.odd
        assert (found.column, found.values, found.places) == ("a", (odd,), ("line 32",))

    def test_one_in_a_column_that_is_empty_but_for_it(self, tmp_path: Path) -> None:
        read = again(tmp_path, lines("", "12.5", "7"), lines(*[""] * 30, "?"))
        assert read.frame["a"].to_list() == [None] * 31
        assert read.findings.odd[0].places == ("line 32",)

    def test_many_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            again(tmp_path, lines("1", "2", "2"), lines("1", "x", "2", "y"))
        for part in ("other.csv", "column 'a'", "2 of 4 cells", "'x', 'y'", "line 3, line 5"):
            assert part in str(caught.value)


class TestManyThatWereLearntWith:
    """A person named a column's kind, so that what is no number is NULL, however much it is."""

    AGE = ColumnOverride(kind=Kind.INTEGER)
    LEARNT = lines(*["unknown" if i % 6 == 0 else str(i) for i in range(300)])

    def test_the_rows_that_were_learnt_fit(self, tmp_path: Path) -> None:
        read = again(tmp_path, self.LEARNT, self.LEARNT, a=self.AGE)
        assert read.findings.odd[0].count == 50
        assert read.frame["a"].null.sum() == 50

    def test_as_do_others_of_which_about_as_many_are_odd(self, tmp_path: Path) -> None:
        other = lines(*["unknown" if i % 4 == 0 else str(i) for i in range(40)])
        assert again(tmp_path, self.LEARNT, other, a=self.AGE).frame["a"].null.sum() == 10

    def test_many_more_are_refused(self, tmp_path: Path) -> None:
        other = lines(*["unknown" if i % 2 == 0 else str(i) for i in range(40)])
        with pytest.raises(DataError, match="column 'a' does not fit what was learnt"):
            again(tmp_path, self.LEARNT, other, a=self.AGE)

    def test_the_share_is_kept_and_forms_of_before_have_none(self, tmp_path: Path) -> None:
        path = tmp_path / "learnt.csv"
        path.write_text(self.LEARNT)
        form = read_files([path], {"a": self.AGE}).findings.forms["a"]
        assert Form.from_dict(json.loads(json.dumps(form.to_dict()))) == form
        before = {key: value for key, value in form.to_dict().items() if key != "odd_share"}
        assert Form.from_dict(before) == replace(form, odd_share=0.0)


class TestParquet:
    def test_types_that_are_near_are_made_the_schema_s(self, tmp_path: Path) -> None:
        learnt = Frame.from_arrow(
            pa.table(
                {
                    "i": [1, 2],
                    "x": [1.5, 2.0],
                    "code": [404, 500],
                    "at": [datetime(2024, 1, 1), datetime(2024, 1, 2)],
                }
            )
        )
        code = ColumnOverride(kind=Kind.CATEGORICAL, min_count=1)
        schema = infer_schema(learnt, {"code": code})
        path = tmp_path / "other.parquet"
        near = {"i": [2.0, None], "x": [1, 2], "code": [404, 200], "at": pa.nulls(2)}
        pq.write_table(pa.table(near), path)
        frame = read_by_schema([path], schema, {}).frame
        assert frame.to_rows() == [
            {"i": 2, "x": 1.0, "code": "404", "at": None},
            {"i": None, "x": 2.0, "code": "200", "at": None},
        ]
        assert frame["at"].arrow_type == "timestamp[us]"

    def test_types_that_are_not_are_refused(self, tmp_path: Path) -> None:
        schema = infer_schema(Frame.from_arrow(pa.table({"i": [1, 2]})))
        path = tmp_path / "other.parquet"
        pq.write_table(pa.table({"i": ["x", "y"]}), path)
        with pytest.raises(DataError, match="column 'i' has type string, but integer was learnt"):
            read_by_schema([path], schema, {})

    def test_a_csv_file_of_a_table_learnt_from_parquet(self, tmp_path: Path) -> None:
        learnt = Frame.from_arrow(
            pa.table({"code": [404, 500], "x": [1.5, 2.0], "ok": [True, False]})
        )
        code = ColumnOverride(kind=Kind.CATEGORICAL, min_count=1)
        schema = infer_schema(learnt, {"code": code})
        path = tmp_path / "other.csv"
        path.write_text("code,x,ok\n404,1,true\n404,2,true\n")
        assert read_by_schema([path], schema, {}).frame.to_rows() == [
            {"code": "404", "x": 1.0, "ok": True},
            {"code": "404", "x": 2.0, "ok": True},
        ]
