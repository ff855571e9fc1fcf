"""Numbers as people write them: thousands, decimal commas, percents, currencies, blanks.

How a number is written is its `Style`; what a column's numbers have in common is a `Mark`, which
says what stands before decimals and between thousands. "1.234" is 1.234 under one mark and 1234
under another, so no cell is read by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# Symbols and codes of money that stand before or after amounts.
CURRENCIES = (
    "R\\$|US\\$|[$€£¥₹₽₩₺₫₪฿₴₦]"
    "|USD|EUR|GBP|JPY|CNY|INR|CHF|CAD|AUD|NZD|BRL|KRW|RUB|SEK|NOK|DKK|PLN|CZK|HUF|TRY|MXN|ZAR"
)
GAPS = "[ '\u00a0\u2009\u202f’]"
PLAIN = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
WRITTEN = (
    r"^(?P<open>\()?\s?(?P<sign>[-+−])?\s?"
    rf"(?P<before>{CURRENCIES})?\s?(?P<inner>[-+−])?"
    rf"(?P<digits>[0-9](?:(?:[0-9.,]|{GAPS})*[0-9.,])?|[.,][0-9]+)(?P<exponent>[eE][-+]?[0-9]+)?\s?"
    rf"(?P<after>%|{CURRENCIES})?\s?(?P<close>\))?$"
)


class Style(IntEnum):
    """How one number's digits are written; the names show an example."""

    NONE = 0
    WHOLE = 1  # 1234
    BIG = 2  # beyond 64 bits
    PADDED = 3  # 007, 00.5
    POINT = 4  # 1234.5, 1e3
    POINT_TRIPLE = 5  # 1.234, one of two things
    COMMA = 6  # 1234,5
    COMMA_TRIPLE = 7  # 1,234, one of two things
    COMMA_GROUPS = 8  # 1,234,567
    COMMA_GROUPS_POINT = 9  # 1,234.5
    POINT_GROUPS = 10  # 1.234.567
    POINT_GROUPS_COMMA = 11  # 1.234,5
    GAPS = 12  # 1 234
    GAPS_POINT = 13  # 1 234.5
    GAPS_COMMA = 14  # 1 234,5


GROUPED = "[1-9][0-9]{0,2}"
# In this order, each for what none before it has taken.
STYLES = (
    (Style.PADDED, "^0[0-9]+(?:[.,][0-9]*)?$"),
    (Style.WHOLE, "^[0-9]+$"),
    (Style.POINT_TRIPLE, rf"^{GROUPED}\.[0-9]{{3}}$"),
    (Style.POINT, r"^(?:[0-9]+\.[0-9]*|\.[0-9]+)$"),
    (Style.COMMA_TRIPLE, rf"^{GROUPED},[0-9]{{3}}$"),
    (Style.COMMA, r"^(?:[0-9]+,[0-9]+|,[0-9]+)$"),
    (Style.COMMA_GROUPS, rf"^{GROUPED}(?:,[0-9]{{3}})+$"),
    (Style.COMMA_GROUPS_POINT, rf"^{GROUPED}(?:,[0-9]{{3}})+\.[0-9]*$"),
    (Style.POINT_GROUPS, rf"^{GROUPED}(?:\.[0-9]{{3}})+$"),
    (Style.POINT_GROUPS_COMMA, rf"^{GROUPED}(?:\.[0-9]{{3}})+,[0-9]*$"),
    (Style.GAPS, rf"^{GROUPED}(?:{GAPS}[0-9]{{3}})+$"),
    (Style.GAPS_POINT, rf"^{GROUPED}(?:{GAPS}[0-9]{{3}})+\.[0-9]*$"),
    (Style.GAPS_COMMA, rf"^{GROUPED}(?:{GAPS}[0-9]{{3}})+,[0-9]*$"),
)


class Mark(StrEnum):
    """What stands before the decimals of a column's numbers, and what between thousands."""

    POINT = "1234.5"
    COMMA_THOUSANDS = "1,234.5"
    COMMA = "1234,5"
    POINT_THOUSANDS = "1.234,5"
    GAPS_POINT = "1 234.5"
    GAPS_COMMA = "1 234,5"

    @property
    def decimal(self) -> str:
        return "," if self in (Mark.COMMA, Mark.POINT_THOUSANDS, Mark.GAPS_COMMA) else "."

    def describe(self) -> str:
        """In words."""
        return f"written as {self.value!r}"


_WHOLE = {Style.WHOLE}
_POINT = {Style.BIG, Style.POINT, Style.POINT_TRIPLE}
_COMMA = {Style.BIG, Style.COMMA, Style.COMMA_TRIPLE}
# The styles of a mark's numbers: those that are whole, and those that are not.
STYLES_OF: dict[Mark, tuple[frozenset[Style], frozenset[Style]]] = {
    mark: (frozenset(_WHOLE | whole), frozenset(real))
    for mark, whole, real in (
        (Mark.POINT, set[Style](), _POINT),
        (
            Mark.COMMA_THOUSANDS,
            {Style.COMMA_TRIPLE, Style.COMMA_GROUPS},
            _POINT | {Style.COMMA_GROUPS_POINT},
        ),
        (Mark.COMMA, set[Style](), _COMMA),
        (
            Mark.POINT_THOUSANDS,
            {Style.POINT_TRIPLE, Style.POINT_GROUPS},
            _COMMA | {Style.POINT_GROUPS_COMMA},
        ),
        (Mark.GAPS_POINT, {Style.GAPS}, _POINT | {Style.GAPS_POINT}),
        (Mark.GAPS_COMMA, {Style.GAPS}, _COMMA | {Style.GAPS_COMMA}),
    )
}


@dataclass(frozen=True, eq=False)
class Numbers:
    """Cells, as far as they are numbers.

    Attributes:
        style: [n] of `Style`; NONE where a cell is no number.
        affix: [n] of text, what stands before or after it.
        text: Arrow text [n]: sign, digits with their marks, exponent.
    """

    style: NDArray[np.int8]
    affix: NDArray[Any]
    text: pa.Array

    def fits(self, mark: Mark, affix: str, padded: bool) -> NDArray[np.bool_]:
        """Which are numbers of a column of this mark, with this affix or none: bool [n]."""
        whole, real = STYLES_OF[mark]
        styles = [*whole, *real, *([Style.PADDED] if padded else [])]
        return np.isin(self.style, styles) & ((self.affix == "") | (self.affix == affix))

    def is_whole(self, mark: Mark) -> NDArray[np.bool_]:
        """Which are whole numbers of 64 bits: bool [n]."""
        whole = np.isin(self.style, [*STYLES_OF[mark][0]])
        padded = self.style == Style.PADDED
        if padded.any():
            short = np.asarray(pc.match_substring_regex(self.text, "^[-+]?[0-9]{1,18}$"))
            whole |= padded & short.astype(bool)
        return whole

    def whole(self, mark: Mark, fits: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The numbers that fit, 0 elsewhere."""
        text = self._bare(mark, fits)
        # Arrow reads no plus sign.
        unsigned = pc.utf8_ltrim(text, characters="+")
        return np.asarray(pc.cast(unsigned, pa.int64()))

    def real(self, mark: Mark, fits: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The numbers that fit, 0 elsewhere."""
        text = pc.utf8_ltrim(self._bare(mark, fits), characters="+")
        return np.asarray(pc.cast(text, pa.float64()))

    def _bare(self, mark: Mark, fits: NDArray[np.bool_]) -> pa.Array:
        text = pc.if_else(pa.array(fits), self.text, "0")
        if mark is Mark.POINT:
            return text
        if mark.decimal == ".":
            return pc.replace_substring_regex(text, f",|{GAPS}", "")
        return pc.replace_substring(pc.replace_substring_regex(text, rf"\.|{GAPS}", ""), ",", ".")


def read_numbers(cells: pa.Array) -> Numbers:
    """Look at cells as numbers.

    Args:
        cells: text [n], without blanks around it.
    """
    n = len(cells)
    style, affix = np.zeros(n, np.int8), np.full(n, "", object)
    plain = _matches(cells, PLAIN)
    rest = np.flatnonzero(~plain)
    text = cells
    if len(rest):
        digits, signed, fixed = _taken_apart(cells.take(pa.array(rest)))
        style[rest] = _styles(digits)
        affix[rest] = fixed
        places = np.arange(n)
        places[rest] = n + np.arange(len(rest))
        text = pa.concat_arrays([cells, signed]).take(pa.array(places))
    if plain.any():
        style[plain] = _plain_styles(cells.filter(pa.array(plain)))
    long = np.flatnonzero((style == Style.WHOLE) & (np.asarray(pc.utf8_length(text)) >= 19))
    for at in long.tolist():
        if not -(2**63) <= int(text[at].as_py()) < 2**63:
            style[at] = Style.BIG
    return Numbers(style, affix, text)


def _matches(cells: pa.Array, pattern: str) -> NDArray[np.bool_]:
    return np.asarray(pc.match_substring_regex(cells, pattern)).astype(bool)


def _plain_styles(cells: pa.Array) -> NDArray[np.int8]:
    """Styles of numbers that programs write."""
    digits = pc.utf8_ltrim(cells, characters="+-")
    exponent = _matches(cells, "[eE]")
    style = _styles(digits)
    style[exponent & (style == Style.NONE)] = Style.POINT
    return style


def _styles(digits: pa.Array) -> NDArray[np.int8]:
    style = np.zeros(len(digits), np.int8)
    rest, left = np.arange(len(digits)), digits
    for each, pattern in STYLES:
        found = _matches(left, pattern)
        style[rest[found]] = each
        rest = rest[~found]
        if not len(rest):
            break
        left = left.filter(pa.array(~found))
    return style


def _taken_apart(cells: pa.Array) -> tuple[pa.Array, pa.Array, NDArray[Any]]:
    """Digits ("" where a cell is no number), digits with sign and exponent, and affixes."""
    parts = pc.extract_regex(cells, WRITTEN)
    fields = {
        name: pc.fill_null(pc.struct_field(parts, name), "")
        for name in ("open", "sign", "before", "inner", "digits", "exponent", "after", "close")
    }
    affixes = [
        "" if before and after else before or after
        for before, after in zip(
            fields["before"].to_pylist(), fields["after"].to_pylist(), strict=True
        )
    ]
    odd = np.array(
        [
            bool(before and after) or bool(sign and inner) or bool(open_) != bool(close)
            for before, after, sign, inner, open_, close in zip(
                *(
                    fields[name].to_pylist()
                    for name in ("before", "after", "sign", "inner", "open", "close")
                ),
                strict=True,
            )
        ],
        bool,
    )
    digits = pc.if_else(pa.array(odd), "", fields["digits"])
    signs = pc.binary_join_element_wise(fields["open"], fields["sign"], fields["inner"], "")
    minus = np.asarray(pc.match_substring_regex(signs, r"[(−-]")).astype(bool)
    signed = pc.binary_join_element_wise(
        pc.if_else(pa.array(minus), "-", ""), digits, fields["exponent"], ""
    )
    # What "1,2e3" means nobody can tell.
    exponent = np.asarray(pc.not_equal(fields["exponent"], "")).astype(bool)
    plain = ~exponent | _matches(digits, r"^[0-9]+(?:\.[0-9]*)?$")
    return pc.if_else(pa.array(plain), digits, ""), signed, np.array([*affixes, None], object)[:-1]
