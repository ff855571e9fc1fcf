"""Exact relations between numbers of a row, as values and as the text that a person writes.

after = before + amount
closed = opened + days_open in days
"total due" = principal + interest
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cascade_tables.errors import SchemaError, did_you_mean, listing, repeated, shown

# Fewest and most columns of a relation.
FEWEST_COLUMNS, MOST_COLUMNS = 2, 4
# Most decimals to which its numbers may be exact.
MOST_DECIMALS = 6
# Units of a number that is added to a date, in microseconds.
UNITS = {
    "days": 86_400_000_000,
    "hours": 3_600_000_000,
    "minutes": 60_000_000,
    "seconds": 1_000_000,
}
# The second minus is the typographic one.
SIGNS = {"+": 1, "-": -1, "\N{MINUS SIGN}": -1}
WORD = re.compile(r'"(?:[^"\\]|\\.)*"(?!\S)|\S+')
EXAMPLE = "two to four columns, as in 'total = first + second - third'"


@dataclass(frozen=True)
class Formula:
    """A sum of columns that equals another column: left = plus[0] + plus[1] − minus[0].

    Attributes:
        left: the column on the left.
        plus, minus: the columns on the right that are added and subtracted.
        unit: unit of a number that is added to a date, a key of `UNITS`; None: there is no such
            number.
    """

    left: str
    plus: tuple[str, ...]
    minus: tuple[str, ...] = ()
    unit: str | None = None

    def __post_init__(self) -> None:
        twice = repeated(self.columns)
        if twice:
            raise SchemaError(f"relation {shown(str(self))} names {shown(twice[0])} twice")
        if not FEWEST_COLUMNS <= len(self.columns) <= MOST_COLUMNS or not self.plus:
            raise SchemaError(f"{shown(str(self))} is not a relation; allowed: {EXAMPLE}")

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.left, *self.plus, *self.minus)

    @property
    def signs(self) -> dict[str, int]:
        """1 or −1 by column, so that the signed sum of the columns is zero if the relation
        holds.
        """
        return {self.left: 1} | dict.fromkeys(self.plus, -1) | dict.fromkeys(self.minus, 1)

    @property
    def key(self) -> tuple[Any, ...]:
        """Key that is equal for equivalent formulas: a = b + c, b = a − c."""
        signs = sorted(self.signs.items())
        first = signs[0][1]
        return (*((name, sign * first) for name, sign in signs), self.unit)

    def __str__(self) -> str:
        first, *rest = self.plus
        parts = [_quoted(self.left), "=", _quoted(first)]
        for sign, names in (("+", rest), ("-", self.minus)):
            for name in names:
                parts += [sign, _quoted(name)]
        return " ".join(parts) + (f" in {self.unit}" if self.unit else "")

    @classmethod
    def of_signs(
        cls, signs: Mapping[str, int], order: Iterable[str], unit: str | None = None
    ) -> Formula:
        """Build the usual notation of a signed sum that is zero.

        The column that is the sum of the others is on the left; of two columns it is the first, of
        two against two the last.

        Args:
            signs: 1 or −1 by column.
            order: of the columns in the table.
            unit: of a number that is added to a date.

        Raises:
            SchemaError: all signs are equal: no column is on the other side.
        """
        names = [name for name in order if name in signs]
        plus, minus = ([n for n in names if signs[n] == sign] for sign in (1, -1))
        if not plus or not minus:
            raise SchemaError(f"the sum of {listing(names)} is no relation; allowed: {EXAMPLE}")
        if len(names) == FEWEST_COLUMNS:
            return cls(names[0], (names[1],), unit=unit)
        if len(plus) == 1 or len(minus) == 1:
            (left,), right = (plus, minus) if len(plus) == 1 else (minus, plus)
            return cls(left, tuple(right), unit=unit)
        left = names[-1]
        same, other = (plus, minus) if left in plus else (minus, plus)
        return cls(left, tuple(other), tuple(n for n in same if n != left), unit)

    @classmethod
    def parse(cls, text: str) -> Formula:
        """Parse the output of `str`, and other notations: a - b = c, b = a − c.

        Names and signs are separated by blanks. A name with spaces or quotation marks, or one that
        is a sign, is in double quotes, as in JSON.

        Raises:
            SchemaError: says what was expected where.
        """
        words = WORD.findall(text)
        unit = None
        if len(words) > 2 and words[-2] == "in":
            unit = words[-1]
            if unit not in UNITS:
                raise SchemaError(
                    f"relation {shown(text)}: unknown unit {shown(unit)}; allowed: "
                    f"{listing(UNITS)}.{did_you_mean(unit, UNITS)}"
                )
            words = words[:-2]
        if words.count("=") != 1:
            raise SchemaError(
                f"{shown(text)} is not a relation: expected one '=' with a space on either side; "
                f"allowed: {EXAMPLE}"
            )
        equals = words.index("=")
        signs: dict[str, int] = {}
        for side, part in ((1, words[:equals]), (-1, words[equals + 1 :])):
            for name, sign in _terms(text, part):
                if name in signs:
                    raise SchemaError(f"relation {shown(text)} names {shown(name)} twice")
                signs[name] = side * sign
        if not FEWEST_COLUMNS <= len(signs) <= MOST_COLUMNS:
            raise SchemaError(
                f"relation {shown(text)} has {len(signs)} columns; allowed: {EXAMPLE}"
            )
        return cls.of_signs(signs, signs, unit)


@dataclass(frozen=True)
class Relation:
    """A formula that rows of a table satisfy exactly, and the share of these rows.

    A row counts if all columns have values and the formula is informative: none of the numbers is
    zero, and no part of the sum is zero by itself (a + d = b + c, where a = b and c = d, is two
    copies and no sum).

    Attributes:
        formula: the columns and their signs.
        decimals: digits behind the decimal point to which the numbers are exact; None: numbers
            without such a limit, which are compared unchanged.
        share: share of the training rows that count.
        held_out_share: the same for rows held out during the search.
        always: no row, training or held out, contradicts it.
        declared: the user declared it, however often it holds.
    """

    formula: Formula
    decimals: int | None
    share: float
    held_out_share: float
    always: bool = False
    declared: bool = False

    def __post_init__(self) -> None:
        if self.decimals is None and len(self.formula.columns) > FEWEST_COLUMNS:
            raise SchemaError(
                f"relation {shown(str(self.formula))}: a number with more than six decimals has no "
                "exact sum; allowed: two such numbers that are equal"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe content; `from_dict` restores an equal relation."""
        return {
            "formula": str(self.formula),
            "decimals": self.decimals,
            "share": self.share,
            "held_out_share": self.held_out_share,
            "always": self.always,
            "declared": self.declared,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Relation:
        """Restore the output of `to_dict`.

        Raises:
            SchemaError: its formula cannot be read, or its decimals are invalid.
            KeyError, TypeError: a field is missing, or there is an extra one.
        """
        decimals = content["decimals"]
        if decimals is not None and not (type(decimals) is int and 0 <= decimals <= MOST_DECIMALS):
            raise SchemaError(
                f"relation {shown(content['formula'])}: its decimals are {shown(decimals)}; "
                f"allowed: a whole number from 0 to {MOST_DECIMALS}, or null"
            )
        return cls(**{**content, "formula": Formula.parse(content["formula"])})

    def describe(self) -> str:
        """Describe how often it holds."""
        often = "always" if self.always else f"in {percent(self.share)} of the rows"
        if self.always and self.share < 1:
            often += f" (in {percent(self.share)} of the rows no part of it is zero)"
        return often + ("; declared" if self.declared else "")


def percent(share: float) -> str:
    """Format a share; less than all is never shown as 100 %."""
    if 0.9995 <= share < 1:
        return "more than 99.9 %"
    if 0 < share < 0.0005:
        return "less than 0.1 %"
    return f"{100 * share:.1f} %".replace(".0 %", " %")


def _terms(text: str, words: list[str]) -> list[tuple[str, int]]:
    """Parse one side of a relation: names, each with its sign."""
    terms, sign = [], 1
    if words and words[0] in SIGNS:
        sign, words = SIGNS[words[0]], words[1:]
    for index, word in enumerate(words):
        if index % 2 == 0 and word not in SIGNS:
            terms.append((_name(text, word), sign))
        elif index % 2 == 1 and word in SIGNS:
            sign = SIGNS[word]
        else:
            wanted = (
                "a column's name" if index % 2 == 0 else "'+' or '-' (a name with spaces is quoted)"
            )
            raise SchemaError(
                f"relation {shown(text)}: expected {wanted} instead of {shown(word)}; "
                f"allowed: {EXAMPLE}"
            )
    if len(words) % 2 == 0:
        raise SchemaError(
            f"relation {shown(text)}: expected a column's name "
            f"{'after ' + shown(words[-1]) if words else 'on either side'}; allowed: {EXAMPLE}"
        )
    return terms


def _name(text: str, word: str) -> str:
    if not word.startswith('"'):
        return word
    try:
        name = json.loads(word)
    except ValueError as exc:
        raise SchemaError(f"relation {shown(text)}: the name {shown(word)} has no end") from exc
    return str(name)


def _quoted(name: str) -> str:
    """Quote a name as `parse` expects."""
    plain = name.isprintable() and not re.search(r'[\s"]', name)
    reserved = name in SIGNS or name in ("=", "in")
    return name if name and plain and not reserved else json.dumps(name, ensure_ascii=False)
