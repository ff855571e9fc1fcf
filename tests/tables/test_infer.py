"""What a column is, as its values show, and which columns carry nothing to learn."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cascade_tables import (
    ColumnData,
    ColumnOverride,
    DataError,
    Frame,
    Kind,
    SchemaError,
    infer_schema,
)
from cascade_tables.identifiers import IDENTIFIER_ROWS
from cascade_tables.infer import MAX_EXACT, MAX_POINT_MASSES

from tests.tables.inferred import EVERY, frame, inferred, left_out, shuffled


class TestKinds:
    @pytest.mark.parametrize(
        ("values", "kind", "dtype"),
        [
            (["b", "a", "b"], Kind.CATEGORICAL, "string"),
            ([True, False, True], Kind.BOOLEAN, "bool"),
            ([3, 1, 2], Kind.INTEGER, "int64"),
            ([0.5, 1.5, 1.5], Kind.CONTINUOUS, "double"),
            ([1.0, 2.0, 2.0], Kind.INTEGER, "double"),
            ([1e300, 2.0, 2.0], Kind.CONTINUOUS, "double"),
            ([date(2024, 1, 1), date(2024, 1, 3)], Kind.DATETIME, "date32[day]"),
            ([datetime(2024, 1, 1), datetime(2024, 1, 3, 1)], Kind.DATETIME, "timestamp[us]"),
        ],
    )
    @pytest.mark.parametrize("nullable", [False, True])
    def test_kind_nullability_and_source_type(
        self, values: list[Any], kind: Kind, dtype: str, nullable: bool
    ) -> None:
        column = inferred([*values, None] if nullable else values)
        assert (column.kind, column.nullable, column.dtype) == (kind, nullable, dtype)

    def test_columns_keep_their_order(self) -> None:
        table = frame(z=[1, 2], a=[1, 2], m=["x", "y"])
        assert infer_schema(table, rule=EVERY).names == ("z", "a", "m")

    def test_a_column_of_one_value_and_nulls_is_kept(self) -> None:
        column = inferred([7, None, 7])
        assert (column.minimum, column.maximum, column.nullable) == (7, 7, True)


class TestNumbers:
    def test_bounds_are_the_datas(self) -> None:
        column = inferred([2.5, -0.25, 9.0, None])
        assert (column.minimum, column.maximum) == (-0.25, 9.0)

    def test_bounds_of_huge_whole_numbers_are_exact(self) -> None:
        column = inferred([2**63 - 1, -(2**63), 2**53 + 1])
        assert (column.minimum, column.maximum) == (-(2**63), 2**63 - 1)

    def test_bounds_of_date_times_are_microseconds(self) -> None:
        column = inferred([datetime(1969, 12, 31, 23, 59, 59), datetime(1970, 1, 2)])
        assert (column.minimum, column.maximum) == (-1_000_000, 86_400_000_000)

    @pytest.mark.parametrize(
        ("values", "step"),
        [
            ([3, 4, 9], 1),
            ([-10, 20, 50], 30),
            ([7, 107, 57], 50),
            ([-(2**63), 2**63 - 1], 2**64 - 1),
            ([5.0, 15.0, 10.0], 5),
            ([date(2024, 1, 1), date(2024, 1, 3), date(2024, 1, 2)], 86_400_000_000),
        ],
    )
    def test_step_is_the_greatest_that_divides_all_differences(
        self, values: list[Any], step: int
    ) -> None:
        assert inferred(values).step == step

    @pytest.mark.parametrize(
        ("values", "decimals"),
        [
            ([1.5, 2.0], 1),
            ([0.1, 0.25, 3.0], 2),
            ([1e-6, 1.0], 6),
            ([1e-7, 1.0], None),
            ([1 / 3, 1.0], None),
            ([2e9, 0.5], 1),
            ([18_400_123_456.78, 0.01], 2),
            ([2.0**53, 0.5], None),
            (pa.array([Decimal("0.35"), Decimal("1.15")]), 2),
            (pa.array([0.1, 19.99], pa.float32()), 2),
            (pa.array(np.array([0.1, 2.5], np.float16)), 1),
            (pa.array([1 / 3, 1.0], pa.float32()), None),
        ],
    )
    def test_decimals_are_the_fewest_that_write_all_values(
        self, values: Any, decimals: int | None
    ) -> None:
        assert inferred(values).decimals == decimals

    def test_whole_numbers_modelled_as_continuous_have_no_decimals(self) -> None:
        column = inferred([10**10, 1, 5], ColumnOverride(kind=Kind.CONTINUOUS))
        assert (column.kind, column.decimals, column.dtype) == (Kind.CONTINUOUS, 0, "int64")

    @pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
    def test_values_that_many_rows_share_are_point_masses(self, share: float) -> None:
        rng = np.random.default_rng(0)
        values = rng.normal(size=4000)
        values[rng.random(4000) < share] = 0.0
        values[:100] = 9.99
        assert inferred(values).point_masses == (0.0, 9.99)

    def test_a_value_that_hardly_repeats_is_no_point_mass(self) -> None:
        values = np.random.default_rng(0).normal(size=4000)
        values[:7] = 0.0  # 0.175 %, below the 0.2 % that a point mass needs
        assert inferred(values).point_masses == ()

    def test_there_is_a_limit_to_point_masses(self) -> None:
        masses = np.repeat(np.arange(100.0), 100)
        column = inferred(np.concatenate([masses, 0.5 + np.arange(1000)]))
        assert len(column.point_masses) == MAX_POINT_MASSES

    def test_few_distinct_values_need_no_point_masses(self) -> None:
        assert inferred([0] * 500 + list(range(MAX_EXACT))).point_masses == ()

    @pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
    @pytest.mark.parametrize("kind", [None, Kind.CONTINUOUS, Kind.INTEGER, Kind.CATEGORICAL])
    def test_values_that_are_not_finite_are_refused(self, odd: float, kind: Kind | None) -> None:
        """NaN is NULL in files and data frames; a Frame made by hand may still hold it."""
        data = ColumnData(np.array([1.0, odd, 2.0, odd]), np.zeros(4, bool))
        with pytest.raises(DataError) as caught:
            infer_schema(Frame({"odd": data}), {"odd": ColumnOverride(kind=kind)})
        assert f"column 'odd' holds {odd} (2 of 4 values are not finite)" in str(caught.value)
        assert "allowed: finite values or NULL" in str(caught.value)

    def test_a_date_time_that_is_none_is_refused(self) -> None:
        data = ColumnData(np.array(["2024-01-01", "NaT"], "datetime64[us]"), np.zeros(2, bool))
        with pytest.raises(DataError, match="column 'odd' holds NaT"):
            infer_schema(Frame({"odd": data}))


class TestLeftOut:
    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ([None, None], "every value is NULL"),
            ([7, 7], "constant: every value is 7"),
            (["x", "x"], "constant: every value is 'x'"),
            (["", ""], "constant: every value is ''"),
            ([True, True], "constant: every value is True"),
            ([0.5, 0.5], "constant: every value is 0.5"),
            ([date(2024, 1, 1)] * 2, "constant: every value is 2024-01-01T00:00:00.000000"),
        ],
    )
    def test_nothing_to_learn(self, values: list[Any], reason: str) -> None:
        assert left_out(values) == reason

    def test_text_that_never_repeats(self) -> None:
        assert left_out([f"u{i}" for i in range(1500)]) == "identifier: all 1,500 values differ"

    def test_text_that_hardly_repeats(self) -> None:
        values = [f"u{i}" for i in range(1990)] + ["u0"] * 10
        assert left_out(values) == "identifier: 1,990 of 2,000 values differ"

    def test_text_of_few_rows_is_kept(self) -> None:
        assert left_out([f"u{i}" for i in range(IDENTIFIER_ROWS - 1)]) == ""

    @pytest.mark.parametrize("nulls", [0, 3])
    def test_row_numbers(self, nulls: int) -> None:
        values = [*shuffled(np.arange(5, 1005)).tolist(), *[None] * nulls]
        assert left_out(values) == "row number: 5 to 1004, each once"
        assert left_out(pa.array(values, pa.float64())) == "row number: 5 to 1004, each once"

    @pytest.mark.parametrize("as_type", [pa.int64(), pa.int32(), pa.float64()])
    def test_whole_numbers_that_cannot_all_differ_by_chance(self, as_type: Any) -> None:
        kept = shuffled(np.arange(1, 15421))[:12336]
        kept[:2] = 1, 15420
        reason = "identifier: all 12,336 values differ, of only 15,420 between 1 and 15420"
        assert left_out(pa.array(np.unique(kept)).cast(as_type)) != ""
        values = np.concatenate([[1, 15420], shuffled(np.arange(2, 15420))[:12334]])
        assert left_out(pa.array(values).cast(as_type)) == reason

    @pytest.mark.parametrize(("most", "kept"), [(24_975, True), (24_974, False)])
    def test_the_birthday_bound(self, most: int, kept: bool) -> None:
        """1,000 values: 1,000 x 999 / 2R is 20 at R = 24,975 and more below it."""
        values = np.concatenate([[1, most], shuffled(np.arange(2, most))[:998]])
        assert (left_out(values) == "") is kept

    def test_one_repeat_is_enough_to_keep_whole_numbers(self) -> None:
        assert left_out([*range(1, 1000), 999]) == ""

    @pytest.mark.parametrize("rows", [50, 5000])
    def test_whole_numbers_that_differ_in_a_wide_range_are_kept(self, rows: int) -> None:
        rng = np.random.default_rng(0)
        values = rng.integers(-(10**15), 10**15, rows)
        assert len(np.unique(values)) == rows
        assert left_out(values) == ""

    def test_whole_numbers_of_few_rows_are_kept(self) -> None:
        assert left_out(list(range(IDENTIFIER_ROWS - 1))) == ""

    def test_real_numbers_that_differ_are_kept(self) -> None:
        assert left_out(np.random.default_rng(0).random(1000)) == ""

    def test_reasons_are_kept_in_order(self) -> None:
        schema = infer_schema(frame(c=["x", "x"], a=[0, 1], b=[None, None]))
        assert [dropped.name for dropped in schema.dropped] == ["c", "b"]


class TestTooLittle:
    @pytest.mark.parametrize(("rows", "said"), [(0, "0 rows"), (1, "1 row;")])
    def test_fewer_than_two_rows_are_refused(self, rows: int, said: str) -> None:
        with pytest.raises(DataError, match=f"the table has {said}.* at least 2 are needed"):
            infer_schema(frame(a=pa.array([1] * rows, pa.int64())))

    def test_no_columns_are_refused(self) -> None:
        with pytest.raises(DataError, match="the table has 0 rows"):
            infer_schema(Frame({}))

    def test_a_table_with_nothing_to_learn_is_refused_with_every_reason(self) -> None:
        with pytest.raises(SchemaError) as caught:
            infer_schema(frame(a=[None, None], b=[7, 7]))
        assert "no column is left to model" in str(caught.value)
        assert "'a': every value is NULL; 'b': constant: every value is 7" in str(caught.value)
