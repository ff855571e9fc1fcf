"""Parsing of numbers in common notations: thousands, decimal commas, percents, currencies, blanks.

The notation of a single number is its `Style`; the notation of a column's numbers is a `Mark`,
which defines the decimal and thousands marks. "1.234" is 1.234 under one mark and 1234 under
another, so no cell is read by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# Currency symbols and codes that occur before or after amounts.
CURRENCIES = (
    "R\\$|US\\$|[$€£¥₹₽₩₺₫₪฿₴₦]"
    "|USD|EUR|GBP|JPY|CNY|INR|CHF|CAD|AUD|NZD|BRL|KRW|RUB|SEK|NOK|DKK|PLN|CZK|HUF|TRY|MXN|ZAR"
)
GAPS = "[ '\u00a0\u2009\u202f’]"
WRITTEN = (
    r"^(?P<open>\()?\s?(?P<sign>[-+−])?\s?"
    rf"(?P<before>{CURRENCIES})?\s?(?P<inner>[-+−])?"
    rf"(?P<digits>[0-9](?:(?:[0-9.,]|{GAPS})*[0-9.,])?|[.,][0-9]+)(?P<exponent>[eE][-+]?[0-9]+)?\s?"
    rf"(?P<after>%|{CURRENCIES})?\s?(?P<close>\))?$"
)


class Style(IntEnum):
    """Notation of one number's digits; the comments show an example."""

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


# Patterns of common numbers, without the ambiguous triples, which `STYLES` handles.
PLAIN = (
    (Style.WHOLE, "^[+-]?(?:0|[1-9][0-9]*)$"),
    (
        Style.POINT,
        r"^[+-]?(?:(?:0|[1-9][0-9]{3,})\.[0-9]*|[1-9][0-9]{0,2}\.(?:[0-9]{0,2}|[0-9]{4,})"
        r"|\.[0-9]+)$",
    ),
)
GROUPED = "[1-9][0-9]{0,2}"
# Patterns in order; each takes the cells that none before it has taken.
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
    """Decimal and thousands marks of a column's numbers."""

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
        """Describe the notation, to complete "written as ..."."""
        return f"written as {self.value!r}"


_WHOLE = {Style.WHOLE}
_POINT = {Style.BIG, Style.POINT, Style.POINT_TRIPLE}
_COMMA = {Style.BIG, Style.COMMA, Style.COMMA_TRIPLE}
# Styles of a mark's numbers: whole ones, and others.
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


# Styles that the mantissa of a number with an exponent may have.
EXACT = (Style.WHOLE, Style.POINT_TRIPLE)


@dataclass(frozen=True, eq=False)
class Numbers:
    """Cells parsed as numbers.

    Attributes:
        style: [n] of `Style`; NONE where a cell is no number.
        affix: [n] of text before or after the number.
        text: Arrow text [n]: sign, digits with their marks, exponent.
    """

    style: NDArray[np.int8]
    affix: NDArray[Any]
    text: pa.Array

    def fits(self, mark: Mark, affix: str, padded: bool) -> NDArray[np.bool_]:
        """Return which cells are numbers with this mark, and with this affix or none: bool [n]."""
        whole, real = STYLES_OF[mark]
        styles = [*whole, *real, *([Style.PADDED] if padded else [])]
        return np.isin(self.style, styles) & ((self.affix == "") | (self.affix == affix))

    def is_whole(self, mark: Mark) -> NDArray[np.bool_]:
        """Return which are whole numbers of 64 bits: bool [n]."""
        whole = np.isin(self.style, [*STYLES_OF[mark][0]])
        padded = self.style == Style.PADDED
        if padded.any():
            short = np.asarray(pc.match_substring_regex(self.text, "^[-+]?[0-9]{1,18}$"))
            whole |= padded & short.astype(bool)
        return whole

    def whole(self, mark: Mark, fits: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the numbers that fit, 0 elsewhere."""
        text = self._bare(mark, fits)
        # Arrow does not accept a plus sign.
        unsigned = pc.utf8_ltrim(text, characters="+")
        return np.asarray(pc.cast(unsigned, pa.int64()))

    def real(self, mark: Mark, fits: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the numbers that fit, 0 elsewhere."""
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
    """Parse cells as numbers.

    Args:
        cells: text [n], without blanks around it.
    """
    n = len(cells)
    style, affix, text = np.zeros(n, np.int8), np.full(n, "", object), cells
    rest, left = np.arange(n), cells
    # Numbers as programs write them, which are all that most files have: one match per cell.
    for each, pattern in PLAIN:
        found = _matches(left, pattern)
        style[rest[found]] = each
        rest, left = rest[~found], left.filter(pa.array(~found)) if found.any() else left
        if not len(rest):
            break
    if len(rest):
        apart = _taken_apart(left)
        styles = _styles(apart.digits)
        styles[apart.exponent & np.isin(styles, EXACT)] = Style.POINT
        style[rest], affix[rest] = styles, apart.affix
        places = np.arange(n)
        places[rest] = n + np.arange(len(rest))
        text = pa.concat_arrays([cells, apart.signed]).take(pa.array(places))
    long = np.flatnonzero((style == Style.WHOLE) & (np.asarray(pc.utf8_length(text)) >= 19))
    for at in long.tolist():
        if not -(2**63) <= int(text[at].as_py()) < 2**63:
            style[at] = Style.BIG
    return Numbers(style, affix, text)


def _matches(cells: pa.Array, pattern: str) -> NDArray[np.bool_]:
    return np.asarray(pc.match_substring_regex(cells, pattern)).astype(bool)


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


class _Apart(NamedTuple):
    """Numbers in their parts, each [n].

    Attributes:
        digits: with their marks; "" where a cell is no number.
        signed: with sign and exponent too.
        affix: text before or after the number.
        exponent: whether there is one.
    """

    digits: pa.Array
    signed: pa.Array
    affix: NDArray[Any]
    exponent: NDArray[np.bool_]


def _taken_apart(cells: pa.Array) -> _Apart:
    parts = pc.extract_regex(cells, WRITTEN)
    text = {
        name: pc.fill_null(pc.struct_field(parts, name), "")
        for name in ("open", "sign", "before", "inner", "digits", "exponent", "after", "close")
    }
    has = {name: np.asarray(pc.not_equal(part, "")).astype(bool) for name, part in text.items()}
    exponent = has["exponent"]
    # The meaning of "1,2e3" is unclear.
    odd = exponent & ~_matches(text["digits"], r"^(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)$")
    odd |= (has["before"] & has["after"]) | (has["sign"] & has["inner"])
    odd |= has["open"] != has["close"]
    digits = pc.if_else(pa.array(odd), "", text["digits"])
    signs = pc.binary_join_element_wise(text["open"], text["sign"], text["inner"], "")
    minus = pc.if_else(pc.match_substring_regex(signs, r"[(−-]"), "-", "")
    affixes = pc.binary_join_element_wise(text["before"], text["after"], "").dictionary_encode()
    distinct = np.array([*affixes.dictionary.to_pylist(), None], object)
    return _Apart(
        digits,
        pc.binary_join_element_wise(minus, digits, text["exponent"], ""),
        distinct[np.asarray(affixes.indices)],
        exponent,
    )
