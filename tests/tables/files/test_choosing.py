"""What a column is, as a function of how often each way of writing stands in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cascade_tables import Kind
from cascade_tables.files.choosing import Counts, Decimals, choose, decimals_of
from cascade_tables.files.forms import Form, Type
from cascade_tables.files.numbers import Mark


def of(cells: dict[str, int]) -> Counts:
    counts = Counts()
    counts.add(pa.array(list(cells), pa.string()), np.array(list(cells.values())))
    return counts


class TestOdd:
    @pytest.mark.parametrize(("odd", "type_"), [(0, Type.WHOLE), (5, Type.WHOLE), (6, Type.TEXT)])
    def test_few_are_five_in_a_hundred(self, odd: int, type_: Type) -> None:
        choice = choose(of({"12": 100 - odd, "?": odd}))
        assert choice is not None
        assert choice.form.type is type_
        assert choice.odd == (odd if type_ is Type.WHOLE else 0)

    def test_nulls_do_not_count(self) -> None:
        choice = choose(of({"12": 10, "": 1000, "NA": 1000, "?": 1}))
        assert choice is not None
        assert (choice.form.type, choice.nearly) == (Type.TEXT, Form(Type.WHOLE))

    def test_counts_of_blocks_add_up(self) -> None:
        together, apart = of({"12": 97, "?": 3}), of({"12": 40, "?": 3})
        apart.add(pa.array(["12"]), np.array([57]))
        assert apart == together


class TestCandidates:
    def test_of_equals_the_simplest(self) -> None:
        choice = choose(of({"1": 5, "2": 5}))
        assert choice is not None
        assert choice.form == Form(Type.WHOLE)

    def test_a_person_s_kind_holds_whatever_the_share(self) -> None:
        choice = choose(of({"1": 5, "x": 5}), kind=Kind.CONTINUOUS)
        assert choice is not None
        assert (choice.form.type, choice.odd) == (Type.WHOLE, 5)
        assert choose(of({"x": 5}), kind=Kind.CONTINUOUS) is None
        assert choose(of({"1": 5}), kind=Kind.DATETIME) is None

    def test_commas_are_what_the_file_says_where_the_column_does_not(self) -> None:
        for decimals, mark in (
            (Decimals.POINT, Mark.COMMA_THOUSANDS),
            (Decimals.LIKELY_COMMA, Mark.COMMA),
            (Decimals.COMMA, Mark.COMMA),
        ):
            choice = choose(of({"1,234": 5}), decimals=decimals)
            assert choice is not None
            assert choice.form.mark is mark
            sure = choose(of({"1,234": 5, "1,234,567": 1}), decimals=decimals)
            assert sure is not None
            assert sure.form.mark is Mark.COMMA_THOUSANDS

    def test_an_affix_is_that_of_most(self) -> None:
        choice = choose(of({"$1": 97, "€1": 3}))
        assert choice is not None
        assert (choice.form.affix, choice.odd) == ("$", 3)


class TestPointsAndCommas:
    """ "1.234" is two things, and other columns of its file say which."""

    @pytest.mark.parametrize(
        ("columns", "semicolons", "expected"),
        [
            ((), False, Decimals.POINT),
            ((), True, Decimals.LIKELY_COMMA),
            (({"5,5": 9}, {"1.234": 9}), True, Decimals.COMMA),
            (({"5,5": 9}, {"1.234": 9}), False, Decimals.COMMA),
            (({"1.234,5": 9},), True, Decimals.COMMA),
            (({"5.5": 9}, {"1,234": 9}), True, Decimals.POINT),
            (({"5,5": 9}, {"5.5": 9}), True, Decimals.LIKELY_COMMA),
            (({"5,5": 4, "x": 5},), False, Decimals.POINT),
        ],
    )
    def test_what_a_file_says(self, columns: Any, semicolons: bool, expected: Decimals) -> None:
        assert decimals_of(map(of, columns), semicolons) is expected

    @pytest.mark.parametrize(
        ("decimals", "mark", "ambiguous"),
        [
            (Decimals.POINT, Mark.POINT, False),
            (Decimals.LIKELY_COMMA, Mark.POINT, True),
            (Decimals.COMMA, Mark.POINT_THOUSANDS, False),
        ],
    )
    def test_points_before_three_digits(
        self, decimals: Decimals, mark: Mark, ambiguous: bool
    ) -> None:
        choice = choose(of({"1.234": 5, "12": 5}), decimals=decimals)
        assert choice is not None
        assert (choice.form.mark, choice.ambiguous) == (mark, ambiguous)

    @pytest.mark.parametrize("decimals", Decimals)
    def test_what_a_column_says_itself_goes_first(self, decimals: Decimals) -> None:
        for cell, mark in (("12", Mark.POINT), ("1.5", Mark.POINT), ("1,5", Mark.COMMA)):
            choice = choose(of({cell: 5, "7": 5}), decimals=decimals)
            assert choice is not None
            assert (choice.form.mark, choice.ambiguous) == (mark, False)

    @pytest.mark.parametrize("decimals", Decimals)
    def test_a_person_says_it_last(self, decimals: Decimals) -> None:
        for said, mark in (("comma", Mark.POINT_THOUSANDS), ("point", Mark.POINT)):
            choice = choose(of({"1.234": 5}), decimals=decimals, decimal_mark=said)
            assert choice is not None
            assert (choice.form.mark, choice.ambiguous) == (mark, False)
