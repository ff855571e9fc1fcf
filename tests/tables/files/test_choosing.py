"""What a column is, as a function of how often each way of writing stands in it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from cascade_tables import Kind
from cascade_tables.files.choosing import Counts, choose
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
        for commas, mark in ((False, Mark.COMMA_THOUSANDS), (True, Mark.COMMA)):
            choice = choose(of({"1,234": 5}), commas_are_decimal=commas)
            assert choice is not None
            assert choice.form.mark is mark
            sure = choose(of({"1,234": 5, "1,234,567": 1}), commas_are_decimal=commas)
            assert sure is not None
            assert sure.form.mark is Mark.COMMA_THOUSANDS

    def test_an_affix_is_that_of_most(self) -> None:
        choice = choose(of({"$1": 97, "€1": 3}))
        assert choice is not None
        assert (choice.form.affix, choice.odd) == ("$", 3)
