"""Numbers as people write them: one column, one way to write them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from cascade_tables import ColumnOverride, SchemaError
from cascade_tables.files.numbers import Mark, read_numbers
from cascade_tables.files.reading import read_files
from hypothesis import given
from hypothesis import strategies as st


def read(mark: Mark, *cells: str, affix: str = "", padded: bool = False) -> list[float | None]:
    """Numbers of cells, None for those that do not fit."""
    numbers = read_numbers(pa.array(cells, pa.string()))
    fits = numbers.fits(mark, affix, padded)
    values = numbers.real(mark, fits)
    return [v if fit else None for v, fit in zip(values.tolist(), fits.tolist(), strict=True)]


class TestMarks:
    @pytest.mark.parametrize(
        ("mark", "cells", "expected"),
        [
            (
                Mark.POINT,
                ["1", "-2.5", "+.5", "5.", "1e3", "-1.5E-2"],
                [1, -2.5, 0.5, 5, 1e3, -0.015],
            ),
            (Mark.POINT, ["1.234", "1,234", "1 234", "12,5"], [1.234, None, None, None]),
            (Mark.COMMA_THOUSANDS, ["1,234", "1,234,567.5", "1.234"], [1234, 1234567.5, 1.234]),
            (Mark.COMMA_THOUSANDS, ["1,23", "12,34,567", "0,123"], [None, None, None]),
            (Mark.COMMA, ["1,234", "12,5", "-,5", "7"], [1.234, 12.5, -0.5, 7]),
            (Mark.COMMA, ["1.234", "1.5"], [None, None]),
            (Mark.POINT_THOUSANDS, ["1.234", "1.234.567,8", "12,5"], [1234, 1234567.8, 12.5]),
            (
                Mark.GAPS_POINT,
                ["1 234", "1'234.5", "1\u00a0234\u202f567", "12"],
                [1234, 1234.5, 1234567, 12],
            ),
            (Mark.GAPS_COMMA, ["1 234,5", "-12 345"], [1234.5, -12345]),
        ],
    )
    def test_what_stands_between_thousands_and_before_decimals(
        self, mark: Mark, cells: list[str], expected: list[float | None]
    ) -> None:
        assert read(mark, *cells) == expected

    @given(st.floats(-1e15, 1e15), st.sampled_from(["{:,.2f}", "{:.2f}"]))
    def test_what_was_written_is_read(self, number: float, written: str) -> None:
        text = written.format(number)
        assert read(Mark.COMMA_THOUSANDS, text) == [float(text.replace(",", ""))]
        german = text.translate(str.maketrans(",.", ".,"))
        assert read(Mark.POINT_THOUSANDS, german) == [float(text.replace(",", ""))]

    @given(st.text())
    def test_any_text_is_a_number_or_none(self, text: str) -> None:
        for mark in Mark:
            read(mark, text.replace("\0", ""))

    @pytest.mark.parametrize(
        "cell", ["", "-", "+", ".", ",", "1_000", "1-2", "٣", "1e", "1,2e3", "--1", "x1", "1x"]
    )
    @pytest.mark.parametrize("mark", Mark)
    def test_what_is_no_number(self, cell: str, mark: Mark) -> None:
        assert read(mark, cell) == [None]


class TestAffixes:
    @pytest.mark.parametrize(
        ("affix", "cells", "expected"),
        [
            ("%", ["12.5%", "5 %", "7"], [12.5, 5, 7]),
            ("$", ["$5", "-$5", "$-5.50", "($1,234.50)", "€5"], [5, -5, -5.5, -1234.5, None]),
            ("EUR", ["10 EUR", "EUR10", "10"], [10, 10, 10]),
            ("R$", ["R$ 1.5"], [1.5]),
            ("", ["$5", "5%", "(7)"], [None, None, -7]),
        ],
    )
    def test_they_are_taken_off(
        self, affix: str, cells: list[str], expected: list[float | None]
    ) -> None:
        assert read(Mark.COMMA_THOUSANDS, *cells, affix=affix) == expected

    @pytest.mark.parametrize("cell", ["$5%", "(5", "5)", "-(-5)", "-$-5", "%5"])
    def test_what_is_no_amount(self, cell: str) -> None:
        assert read(Mark.POINT, cell, affix="$") == [None]
        assert read(Mark.POINT, cell, affix="%") == [None]


class TestZeros:
    def test_numbers_that_begin_with_them_are_numbers_only_where_asked_for(self) -> None:
        assert read(Mark.POINT, "007", "00.5", "0", "0.5") == [None, None, 0, 0.5]
        assert read(Mark.POINT, "007", "00.5", "0", padded=True) == [7, 0.5, 0]


class TestWhole:
    def test_64_bits_are_exact_and_more_are_real(self) -> None:
        cells = ["9223372036854775807", "-9223372036854775808", "9223372036854775808", "007", "1.0"]
        numbers = read_numbers(pa.array(cells))
        fits = numbers.fits(Mark.POINT, "", True)
        whole = numbers.is_whole(Mark.POINT)
        assert fits.all()
        assert whole.tolist() == [True, True, False, True, False]
        assert numbers.whole(Mark.POINT, whole).tolist() == [2**63 - 1, -(2**63), 0, 7, 0]


class TestOtherColumnsOfItsFile:
    """They say what "1.234" is where its own column does not."""

    def test_a_thousand_beside_decimal_commas(self, tmp_path: Path) -> None:
        path = tmp_path / "umsatz.csv"
        path.write_text("preis;menge;teile\n" + "5,5;1.234;7\n" * 9)
        read = read_files([path])
        assert read.frame.to_rows()[0] == {"preis": 5.5, "menge": 1234, "teile": 7}
        assert "menge: whole numbers, written as '1.234,5'" in read.findings.describe()
        assert "teile" not in read.findings.describe()

    def test_where_nothing_shows_it_that_is_said_and_a_person_says_it(self, tmp_path: Path) -> None:
        path = tmp_path / "umsatz.csv"
        path.write_text("menge;teile\n" + "1.234;7\n" * 9)
        read = read_files([path])
        assert read.frame["menge"].to_list() == [1.234] * 9
        assert "menge: nothing shows whether points stand before" in read.findings.describe()
        read = read_files([path], {"menge": ColumnOverride(decimal_mark="comma")})
        assert read.frame["menge"].to_list() == [1234] * 9
        assert "nothing shows" not in read.findings.describe()
        with pytest.raises(SchemaError, match="dates in the overrides has no effect on"):
            read_files([path], {"menge": ColumnOverride(dates="day_first")})
