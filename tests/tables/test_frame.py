"""Tables in memory: from and to Arrow, pandas and rows, with the types of the source."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from cascade_tables import ColumnData, DataError, Frame, UnknownColumn

# A string array of one value that is not UTF-8, as a careless writer leaves it in a file.
NOT_TEXT = pa.Array.from_buffers(
    pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
)


class TestArrow:
    @pytest.mark.parametrize(
        ("dtype", "values"),
        [
            ("int8", [-128, None, 127]),
            ("uint8", [0, None, 255]),
            ("int64", [-(2**63), None, 2**63 - 1]),
            ("uint64", [0, None, 2**63 - 1]),
            ("float16", [0.5, None]),
            ("float32", [0.5, None, 1e30]),
            ("float64", [0.1, None, -1e300]),
            ("bool", [True, None, False]),
            ("string", ["", None, "naïve 😀"]),
            ("date32", [date(2024, 2, 29), None, date(9999, 12, 31)]),
            ("date64", [date(1969, 12, 31), None]),
        ],
    )
    def test_values_and_types_come_back(self, dtype: str, values: list[Any]) -> None:
        table = pa.table({"a": pa.array(values, pa.type_for_alias(dtype))})
        assert Frame.from_arrow(table).to_arrow().equals(table)

    @pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "+05:30"])
    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_date_times_come_back_in_their_unit_and_zone(self, unit: str, zone: str | None) -> None:
        # The hour that Berlin's clocks skip, and one before 1970.
        values = [datetime(2024, 3, 31, 2, 30, tzinfo=UTC), None, datetime(1950, 1, 1, tzinfo=UTC)]
        array = pa.array(values, pa.timestamp("us", tz="UTC")).cast(pa.timestamp(unit, tz=zone))
        table = pa.table({"at": array})
        assert Frame.from_arrow(table).to_arrow().equals(table)

    @pytest.mark.parametrize("kind", [pa.decimal128(12, 2), pa.decimal256(40, 2)])
    def test_decimal_numbers_become_the_reals_nearest_to_them(self, kind: pa.DataType) -> None:
        """More of them than are read at once; 0.35 stays 0.35."""
        prices = [Decimal(cents) / 100 for cents in range(-200, 70_000)]
        data = Frame.from_arrow(pa.table({"price": pa.array([*prices, None], kind)}))["price"]
        assert data.values[:-1].tolist() == list(map(float, prices))
        assert data.null.tolist() == [False] * len(prices) + [True]

    @pytest.mark.parametrize("text", ["-1.5E+3", "123456789012345678901.05", "0.0000000001"])
    def test_decimal_numbers_of_any_scale(self, text: str) -> None:
        array = pa.array([Decimal(text), None])
        assert Frame.from_arrow(pa.table({"a": array}))["a"].to_list() == [float(text), None]

    @pytest.mark.parametrize(
        ("dtype", "value", "wide"),
        [
            ("uint8", -71, pa.int64()),
            ("int16", 2**40, pa.int64()),
            ("timestamp[s, tz=UTC]", datetime(2024, 1, 1, 0, 0, 0, 5), pa.timestamp("us", "UTC")),
        ],
    )
    def test_a_value_that_the_source_had_no_room_for_is_no_error(
        self, dtype: str, value: Any, wide: pa.DataType
    ) -> None:
        values = np.array([value, value], "M8[us]" if isinstance(value, datetime) else np.int64)
        data = ColumnData(values, np.array([False, True]), dtype)
        (column,) = Frame({"a": data}).to_arrow().columns
        assert column.type == wide
        assert column.cast(pa.int64()).to_pylist() == [values.astype(np.int64)[0], None]

    def test_nanoseconds_are_cut_to_microseconds(self) -> None:
        table = pa.table({"at": pa.array([1999], pa.timestamp("ns"))})
        back = Frame.from_arrow(table).to_arrow()
        assert back["at"].cast(pa.int64()).to_pylist() == [1000]

    @pytest.mark.parametrize(
        "array",
        [
            pa.array(["a", None, "b"]).dictionary_encode(),
            pa.array(["a", None, "b"], pa.large_string()),
            pa.array(["a", None, "b"], pa.string_view()),
            pa.chunked_array([["a", None], ["b"]]),
        ],
    )
    def test_every_way_to_store_text_is_text(self, array: Any) -> None:
        frame = Frame.from_arrow(pa.table({"a": array}))
        assert frame["a"].to_list() == ["a", None, "b"]
        assert frame["a"].arrow_type == "string"

    def test_decimals_are_real_numbers(self) -> None:
        frame = Frame.from_arrow(pa.table({"a": [Decimal("1.50"), None]}))
        assert frame["a"].to_list() == [1.5, None]
        assert frame["a"].arrow_type == "double"

    def test_whole_numbers_beyond_63_bits_are_real_numbers(self) -> None:
        frame = Frame.from_arrow(pa.table({"a": pa.array([2**64 - 1, None, 0], pa.uint64())}))
        assert frame["a"].to_list() == [float(2**64 - 1), None, 0.0]
        assert frame["a"].arrow_type == "double"

    def test_nan_is_null(self) -> None:
        frame = Frame.from_arrow(pa.table({"a": [1.5, float("nan"), None]}))
        assert frame["a"].to_list() == [1.5, None, None]

    def test_a_column_of_nulls_has_text_type(self) -> None:
        frame = Frame.from_arrow(pa.table({"a": pa.nulls(2)}))
        assert frame["a"].to_list() == [None, None]
        assert frame["a"].arrow_type == "string"

    @pytest.mark.parametrize(
        ("array", "type_name"),
        [
            (pa.array([[1], [2]]), "list<item: int64>"),
            (pa.array([{"x": 1}]), "struct<x: int64>"),
            (pa.array([b"raw"]), "binary"),
            (pa.array([time(12, 30)]), "time64[us]"),
            (pa.array([timedelta(1)]), "duration[us]"),
        ],
    )
    def test_other_types_are_refused(self, array: pa.Array, type_name: str) -> None:
        with pytest.raises(DataError) as caught:
            Frame.from_arrow(pa.table({"ok": pa.array([1] * len(array)), "odd": array}))
        assert "column 'odd' has type " + type_name in str(caught.value)
        assert "allowed: text, whole and real numbers, booleans, dates and date-times" in str(
            caught.value
        )

    @pytest.mark.parametrize(
        ("array", "type_name"),
        [(NOT_TEXT, "string"), (pa.array([2**45], pa.timestamp("s")), "timestamp[s]")],
        ids=["text that is not UTF-8", "a date-time beyond 64 bits of microseconds"],
    )
    def test_values_that_cannot_be_held_are_refused(self, array: pa.Array, type_name: str) -> None:
        with pytest.raises(DataError) as caught:
            Frame.from_arrow(pa.table({"odd": array}))
        assert f"column 'odd' of type {type_name} cannot be read: " in str(caught.value)

    def test_duplicate_names_are_refused(self) -> None:
        with pytest.raises(DataError, match="duplicate column names: 'b', 'a'"):
            Frame.from_arrow(pa.table([[1], [2], [3], [4], [5]], names=["b", "a", "c", "a", "b"]))


class TestPandas:
    def test_what_pandas_calls_missing_is_null(self) -> None:
        frame = Frame.from_pandas(
            pd.DataFrame(
                {
                    "number": [1.5, np.nan],
                    "whole": pd.array([1, None], "Int8"),
                    "flag": pd.array([True, None], "boolean"),
                    "text": ["a", None],
                    "category": pd.Categorical(["a", None]),
                    "at": [pd.Timestamp("2024-01-01"), pd.NaT],
                }
            )
        )
        assert all(column.null.tolist() == [False, True] for column in frame.columns.values())
        assert frame["whole"].arrow_type == "int8"
        assert frame["category"].arrow_type == "string"

    def test_whole_numbers_and_booleans_with_nulls_take_nullable_types(self) -> None:
        rows = [{"i": 1, "b": True, "t": "x", "r": 0.5}, {"i": None, "b": None, "t": None}]
        back = Frame.from_rows(rows).to_pandas()
        assert back.dtypes.astype(str).to_dict() == {
            "i": "Int64",
            "b": "boolean",
            "t": "object",
            "r": "float64",
        }
        assert back["i"].isna().tolist() == [False, True]

    @pytest.mark.parametrize("dtype", ["uint16", "int32", "float32", "bool", "datetime64[s]"])
    def test_dtypes_come_back(self, dtype: str) -> None:
        frame = pd.DataFrame({"a": np.array([1, 0, 1]).astype(dtype)})
        pd.testing.assert_frame_equal(Frame.from_pandas(frame).to_pandas(), frame)

    def test_unsigned_with_nulls(self) -> None:
        frame = pd.DataFrame({"a": pd.array([1, None], "UInt16")})
        pd.testing.assert_frame_equal(Frame.from_pandas(frame).to_pandas(), frame)

    def test_the_index_is_left_behind_and_labels_become_text(self) -> None:
        frame = Frame.from_pandas(pd.DataFrame({0: [1, 2], "a": [3, 4]}, index=[7, 9]))
        assert list(frame.columns) == ["0", "a"]
        assert frame.to_pandas().index.tolist() == [0, 1]

    def test_labels_that_become_the_same_text_are_refused(self) -> None:
        with pytest.raises(DataError, match="duplicate column names: '0'"):
            Frame.from_pandas(pd.DataFrame([[1, 2]], columns=[0, "0"]))

    @pytest.mark.parametrize(
        "values",
        [[1, "b"], ["b", 1], [2**70, 1], [1j, 2j], ["\ud800", "b"], [object(), object()]],
        ids=["mixed", "mixed, text first", "beyond 64 bits", "complex", "surrogate", "object"],
    )
    def test_columns_that_are_not_one_type_are_refused(self, values: list[Any]) -> None:
        with pytest.raises(DataError, match="column 'odd' mixes types or cannot be read: "):
            Frame.from_pandas(pd.DataFrame({"ok": [1, 2], "odd": values}))


class TestRows:
    def test_a_key_that_a_row_lacks_is_null(self) -> None:
        frame = Frame.from_rows([{"a": "x"}, {"b": 1}])
        assert frame.to_rows() == [{"a": "x", "b": None}, {"a": None, "b": 1}]

    @pytest.mark.parametrize("values", [["x", 1], [2**70, 1], ["\ud800", "b"]])
    def test_mixed_types_are_refused(self, values: list[Any]) -> None:
        with pytest.raises(DataError, match="column 'odd' mixes types or cannot be read: "):
            Frame.from_rows([{"ok": 1, "odd": value} for value in values])

    def test_date_times_with_zones_are_the_same_instant(self) -> None:
        at = datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
        frame = Frame.from_rows([{"at": at}])
        assert frame["at"].to_list() == [datetime(2024, 1, 1, 7)]


class TestFrame:
    def test_columns_of_different_lengths_are_refused(self) -> None:
        def column(n: int) -> ColumnData:
            return ColumnData(np.zeros(n), np.zeros(n, bool))

        with pytest.raises(DataError, match=r"different lengths: 'a' has 2, 'b' has 3"):
            Frame({"a": column(2), "b": column(3)})

    def test_select_and_take(self) -> None:
        frame = Frame.from_rows([{"a": i, "b": str(i), "c": None} for i in range(4)])
        some = frame.select(["b", "a"]).take(np.array([2, 0]))
        assert some.to_rows() == [{"b": "2", "a": 2}, {"b": "0", "a": 0}]
        assert frame.take(frame["a"].values > 2)["b"].to_list() == ["3"]
        assert repr(some) == "<Frame 2 rows × 2 columns>"

    def test_an_unknown_column_is_named_with_the_nearest(self) -> None:
        with pytest.raises(UnknownColumn, match=r"'amont'; .* amount, at\. Did you mean 'amount'"):
            Frame.from_rows([{"amount": 1, "at": 2}])["amont"]
