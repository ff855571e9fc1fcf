"""Reading the caller's rows in each of their four forms."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from cascade_client import MISSING, InvalidRequest
from cascade_client.messages.cells import ABSENT, NULL, OBSERVED, Cells, Form
from cascade_client.messages.frames import ARROW, PANDAS
from cascade_client.messages.given import Given, read


def column(given: Given, name: str) -> Cells:
    return next(cells for cells in given.cells if cells.name == name)


class TestDicts:
    """Absent and NULL are different things."""

    def test_none_is_null_and_missing_is_absent(self) -> None:
        given = read({"a": None, "b": MISSING, "c": 1})
        assert {c.name: c.states[0] for c in given.cells} == {"a": NULL, "b": ABSENT, "c": OBSERVED}
        assert (given.form, given.count) == (Form.ROW, 1)

    def test_a_key_that_some_rows_leave_out_is_absent_there(self) -> None:
        given = read([{"a": 1}, {"b": "x", "a": None}, {}])
        assert given.form is Form.ROWS
        assert column(given, "a") == Cells("a", [1], bytes([OBSERVED, NULL, ABSENT]))
        assert column(given, "b") == Cells("b", ["x"], bytes([ABSENT, OBSERVED, ABSENT]))

    @pytest.mark.parametrize(
        ("value", "plain"),
        [
            (np.int64(5), 5),
            (np.float32(0.5), 0.5),
            (np.bool_(True), True),
            (np.str_("x"), "x"),
            (Decimal("1.5"), 1.5),
            (date(2026, 1, 2), datetime(2026, 1, 2)),
            (
                np.datetime64("2026-01-02T03:04:05.123456789", "ns"),
                datetime(2026, 1, 2, 3, 4, 5, 123456),
            ),
            (pd.Timestamp("2026-01-02"), datetime(2026, 1, 2)),
        ],
    )
    def test_scalars_of_other_libraries_are_taken(self, value: Any, plain: Any) -> None:
        [cells] = read({"a": value}).cells
        assert cells.observed == [plain]

    @pytest.mark.parametrize(
        "value",
        [
            float("nan"),
            np.float64("nan"),
            np.float32("nan"),
            np.datetime64("NaT"),
            Decimal("NaN"),
            pd.NaT,
            pd.NA,
        ],
    )
    def test_what_stands_for_no_value_is_an_empty_cell(self, value: Any) -> None:
        """As in a DataFrame, and not the category "nan"."""
        [one] = read({"x": value}).cells
        assert one == Cells("x", [], bytes([NULL]))
        [two] = read([{"x": "shop1"}, {"x": value}]).cells
        assert two == Cells("x", ["shop1"], bytes([OBSERVED, NULL]))

    def test_a_frame_and_its_records_are_the_same_request(self) -> None:
        frame = pd.DataFrame({"shop": ["shop1", np.nan], "items": [1.0, np.nan]})
        assert read(frame).cells == read(frame.to_dict("records")).cells

    @pytest.mark.parametrize("value", [[1], {"x": 1}, object(), 1j, b"x"])
    def test_what_has_no_place_in_a_table_is_named(self, value: Any) -> None:
        with pytest.raises(InvalidRequest, match=r"column 'a': .*MISSING is allowed"):
            read({"a": value})


class TestFrames:
    """A column left out is absent; empty cells are NULL."""

    def test_pandas_holes(self) -> None:
        frame = pd.DataFrame(
            {
                "number": [1.5, np.nan],
                "nullable": pd.array([3, None], dtype="Int64"),
                "text": ["x", None],
                "kind": pd.Categorical(["a", None]),
                "time": pd.to_datetime(["2026-01-02", None]),
                "flag": pd.array([True, None], dtype="boolean"),
            },
            index=[7, 9],
        )
        given = read(frame)
        assert given.form is PANDAS
        assert given.frame is frame
        first = [1.5, 3, "x", "a", datetime(2026, 1, 2), True]
        assert [c.observed for c in given.cells] == [[value] for value in first]
        assert {c.states for c in given.cells} == {bytes([OBSERVED, NULL])}

    def test_arrow_holes(self) -> None:
        table = pa.table(
            {
                "number": pa.array([1.5, float("nan"), None]),
                "whole": pa.array([3, None, None]),
                "text": pa.array(["x", None, None]).dictionary_encode(),
                "time": pa.array([datetime(2026, 1, 2), None, None], pa.timestamp("ns")),
                "zoned": pa.array([datetime(2026, 1, 2, tzinfo=UTC), None, None]),
            }
        )
        given = read(table)
        assert (given.form, given.count) == (ARROW, 3)
        first = [1.5, 3, "x", datetime(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC)]
        assert [c.observed for c in given.cells] == [[value] for value in first]
        assert {c.states for c in given.cells} == {bytes([OBSERVED, NULL, NULL])}

    def test_zones_become_utc(self) -> None:
        noon = datetime(2026, 1, 2, 12, tzinfo=timezone(timedelta(hours=2)))
        [cells] = read(pd.DataFrame({"time": [noon]})).cells
        assert cells.observed == [datetime(2026, 1, 2, 10)]


class TestRefusals:
    """What is not rows is refused with what would be."""

    @pytest.mark.parametrize("data", ["credit", 5, None, [1, 2], {1, 2}, np.zeros(3)])
    def test_other_types(self, data: Any) -> None:
        with pytest.raises(InvalidRequest, match="a dict, a list of dicts, a DataFrame of pandas"):
            read(data)

    @pytest.mark.parametrize("data", [[], pd.DataFrame({"a": []}), pa.table({"a": []})])
    def test_no_rows(self, data: Any) -> None:
        with pytest.raises(InvalidRequest, match="no rows"):
            read(data)

    @pytest.mark.parametrize("data", [{1: 2}, pd.DataFrame({0: [1]})])
    def test_names_that_are_not_strings(self, data: Any) -> None:
        with pytest.raises(InvalidRequest, match=r"column name \d is a"):
            read(data)

    @pytest.mark.parametrize(
        "data",
        [
            pd.DataFrame([[1, 2]], columns=["a", "a"]),
            pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]),
        ],
    )
    def test_names_that_come_twice(self, data: Any) -> None:
        with pytest.raises(InvalidRequest, match="two columns 'a'"):
            read(data)
