"""Numbers as whole numbers of their last decimal, and what is told apart on the way."""

from __future__ import annotations

import numpy as np
import pytest
from cascade_tables import ColumnData, Formula, Frame, measure_formula
from cascade_tables.relations.whole import as_whole, decimals_of
from hypothesis import given, settings
from hypothesis import strategies as st

several = settings(deadline=None, derandomize=True, database=None)
cents = st.integers(-(10**11), 10**11)


def column(values: list[float] | np.ndarray, dtype: str = "") -> ColumnData:
    array = np.asarray(values)
    return ColumnData(array, np.zeros(len(array), bool), dtype)


class TestDecimals:
    @pytest.mark.parametrize(
        ("values", "decimals"),
        [
            ([1, 2], 0),
            ([1.0, 2.0], 0),
            ([0.5, 1.25], 2),
            ([0.1 + 0.2, 1.1 + 2.2], 1),
            ([0.000001, 3.0], 6),
            ([1 / 3, 2 / 3], None),
            ([5e9 + 0.01, 0.02], 2),
        ],
    )
    def test_of_values(self, values: list[float], decimals: int | None) -> None:
        assert decimals_of(column(values)) == decimals

    def test_random_reals_have_no_end(self) -> None:
        for scale in (1e-3, 1.0, 1e3, 1e6, 1e9):
            values = scale * np.random.default_rng(3).normal(size=2000)
            assert decimals_of(column(values)) is None

    def test_single_precision_is_read_as_it_is_written(self) -> None:
        values = np.array([0.1, 12.34, 999.99], np.float32).astype(np.float64)
        assert decimals_of(column(values, "float")) == 2
        assert as_whole(column(values, "float"), 2).values.tolist() == [10, 1234, 99999]

    def test_single_precision_beyond_its_cents_is_not_known(self) -> None:
        values = np.array([0.25, 1e6 + 0.01], np.float32).astype(np.float64)
        assert as_whole(column(values, "float"), 2).known.tolist() == [True, False]

    def test_nothing_at_all_has_none(self) -> None:
        assert decimals_of(ColumnData(np.zeros(3), np.ones(3, bool))) is None


class TestWhole:
    @several
    @given(st.lists(cents, min_size=1, max_size=30))
    def test_cents_are_exact(self, amounts: list[int]) -> None:
        whole = as_whole(column([amount / 100 for amount in amounts]), 2)
        assert whole.known.all()
        assert whole.values.tolist() == amounts

    @several
    @given(st.lists(st.tuples(cents, cents, cents), min_size=1, max_size=30))
    def test_sums_saved_with_the_rounding_of_reals_are_exact(
        self, parts: list[tuple[int, int, int]]
    ) -> None:
        sums = [a / 100 + b / 100 + c / 100 for a, b, c in parts]
        assert as_whole(column(sums), 2).values.tolist() == [sum(each) for each in parts]

    def test_more_digits_than_there_should_be_are_not_rounded_away(self) -> None:
        assert as_whole(column([12.35, 12.3456]), 2).known.tolist() == [True, False]

    def test_what_would_not_fit_is_not_known(self) -> None:
        whole = as_whole(column(np.array([2**62, 5])), 0)
        assert whole.known.tolist() == [False, True]

    def test_infinite_values_are_not_known(self) -> None:
        values = column([np.inf, np.nan, 1.5])
        assert as_whole(values, 1).known.tolist() == [False, False, True]


class TestMeasure:
    def frame(self, **columns: list[float | None]) -> Frame:
        names = list(columns)
        rows = zip(*columns.values(), strict=True)
        return Frame.from_rows([dict(zip(names, row, strict=True)) for row in rows])

    def test_zeros_and_nulls_hold_but_do_not_count(self) -> None:
        rows = self.frame(a=[5, 0, None, 3, 7], b=[5, 0, 4, 4, None])
        found = measure_formula(Formula.parse("a = b"), 0, rows)
        assert found.holds.tolist() == [True, True, False, False, False]
        assert found.counts.tolist() == [True, False, False, False, False]
        assert found.share == 1 / 5
        assert found.violations == 1

    def test_a_sum_of_two_copies_does_not_count(self) -> None:
        rows = self.frame(a=[3, 3, 3], b=[3, 5, 2], c=[8, 6, 9], d=[8, 8, 8])
        found = measure_formula(Formula.parse("a + c = b + d"), 0, rows)
        assert found.holds.tolist() == [True, False, False]
        assert found.counts.tolist() == [False, False, False]

    def test_dates_differ_by_a_number_of_days(self) -> None:
        day = np.array(["2024-02-28", "2024-02-28", "2023-02-28"], "datetime64[us]")
        until = np.array(["2024-03-01", "2024-03-01", "2023-03-01"], "datetime64[us]")
        rows = Frame(
            {"since": column(day), "until": column(until), "days": column([2.0, 2.5, 1.0])}
        )
        found = measure_formula(Formula.parse("until = since + days in days"), 1, rows)
        assert found.counts.tolist() == [True, False, True]

    def test_minus_zero_is_zero(self) -> None:
        rows = Frame({"a": column([-0.0, 1 / 3]), "b": column([0.0, 1 / 3])})
        assert measure_formula(Formula.parse("a = b"), None, rows).holds.tolist() == [True, True]
