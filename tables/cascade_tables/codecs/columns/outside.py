"""Values outside the learnt range: how each is treated, and how it is reported.

Such values come when an answer matters most, so they are answered: a network gets the nearest
learnt value, or treats the value as not known. A value that the column cannot hold at all, such as
text for a number, is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cascade_tables.errors import (
    SHOWN,
    BadCell,
    ValueNotAllowed,
    ValuesNotAllowed,
    listing,
    shown,
)
from cascade_tables.schema import Column, Kind, bound_text

# Most values that are named one by one; all are counted.
MOST_NAMED = 100


def allowed_values(column: Column) -> str:
    """Describe a column's allowed values for an error."""
    if column.kind is Kind.CATEGORICAL:
        allowed = "one of " + listing(column.categories)
    elif column.kind is Kind.BOOLEAN:
        allowed = "true or false"
    else:
        noun = {
            Kind.INTEGER: "whole numbers",
            Kind.CONTINUOUS: "numbers",
            Kind.DATETIME: "date-times",
        }[column.kind]
        low, high = bound_text(column, column.minimum), bound_text(column, column.maximum)
        allowed = f"{noun} from {low} to {high}"
    return allowed + (" or NULL" if column.nullable else "; not NULL")


class OutsideKind(StrEnum):
    """How a value is outside the range that its column's codec learnt."""

    BELOW = "below"  # a number or date-time below the lowest
    ABOVE = "above"  # one above the highest
    BETWEEN = "between"  # one between two that are next to each other, of a column with few
    CATEGORY = "category"  # a category that is none of the column's
    NULL = "null"  # NULL where there was none
    NOT_A_NUMBER = "not_a_number"  # NaN
    WRONG = "wrong"  # nothing that the column can hold; such a value is always refused


class Outside(NamedTuple):
    """A codec's treatment of a value.

    Attributes:
        column: of the value.
        kind: how the value is outside.
        conditioned_on: the value that replaces it; None: it counts as not known.
    """

    column: Column
    kind: OutsideKind
    conditioned_on: Any = None

    @property
    def is_known(self) -> bool:
        """Whether it is conditioned on."""
        return self.conditioned_on is not None

    @property
    def is_unexpected(self) -> bool:
        """Whether `strict` refuses it; not for values between learnt numbers, nor for those that
        fold into a learnt label.
        """
        folds = self.kind is OutsideKind.CATEGORY and self.is_known
        return self.kind is not OutsideKind.BETWEEN and not folds

    @property
    def text(self) -> str | None:
        """`conditioned_on` as text: numbers in digits, date-times in ISO form; None: not known."""
        value = self.conditioned_on
        if value is None or self.column.kind is Kind.CATEGORICAL:
            return value
        return bound_text(self.column, value).replace(",", "")


class OutsideValue(NamedTuple):
    """One value, and its treatment.

    Attributes:
        column, row: its position, rows from 0.
        kind: how it is outside.
        conditioned_on: the value that replaces it, as text; None: it counts as not known.
    """

    column: str
    row: int
    kind: OutsideKind
    conditioned_on: str | None


class OutsideValues:
    """All values of some rows that are outside: the first of them by name, all by number.

    Attributes:
        first: `MOST_NAMED` of them at most, in the order of the given columns.
        totals: their numbers, by column and kind.

    Args:
        rows: number of rows.
        strict: whether to refuse an unexpected value (see `Outside`).
    """

    def __init__(self, rows: int, strict: bool) -> None:
        self.first: list[OutsideValue] = []
        self.totals: dict[tuple[str, OutsideKind], int] = {}
        self._rows, self._strict = rows, strict
        # One example of each total, with its value, for messages.
        self._samples: dict[tuple[str, OutsideKind], tuple[Outside, Any]] = {}
        self._bad: list[BadCell] = []
        self._bad_values = 0

    def add(
        self, found: Outside, values: Sequence[Any], rows: Sequence[int] | NDArray[np.intp]
    ) -> None:
        """Add values of a column that were treated in the same way.

        Args:
            found: the treatment.
            values: of the column, one per row.
            rows: which of them, at least one.
        """
        name = found.column.name
        key = name, found.kind
        self.totals[key] = self.totals.get(key, 0) + len(rows)
        self._samples.setdefault(key, (found, values[rows[0]]))
        text = found.text
        for row in rows[: MOST_NAMED - len(self.first)]:
            self.first.append(OutsideValue(name, int(row), found.kind, text))
        if found.kind is OutsideKind.WRONG or (self._strict and found.is_unexpected):
            self._bad_values += len(rows)
            allowed = allowed_values(found.column)
            for row in rows[: SHOWN - len(self._bad)]:
                self._bad.append(BadCell(name, int(row), values[row], allowed))

    def refuse(self) -> None:
        """Refuse values that cannot be answered.

        Raises:
            ValueNotAllowed: some values have a wrong type, or are unexpected and strictly refused;
                names all of them, or the first of many.
        """
        if self._bad_values == 1:
            column, row, value, allowed = self._bad[0]
            raise ValueNotAllowed(column, value, allowed, row if self._rows > 1 else None)
        if self._bad:
            raise ValuesNotAllowed(self._bad, self._bad_values)

    @property
    def notices(self) -> tuple[str, ...]:
        """Messages for the user: a sentence for each column and kind."""
        return tuple(_notice(*self._samples[key], number) for key, number in self.totals.items())


def _notice(found: Outside, value: Any, number: int) -> str:
    column = found.column
    if column.kind.is_number and isinstance(value, int | float):
        named = bound_text(column, value)
    else:
        named = shown(value)
    is_, was = ("is", "was") if number == 1 else ("are", "were")
    what = {
        OutsideKind.BELOW: f"{is_} below all that was learnt",
        OutsideKind.ABOVE: f"{is_} above all that was learnt",
        OutsideKind.BETWEEN: f"{was} not seen in training",
        OutsideKind.CATEGORY: f"{is_} not one of its {len(column.categories):,} categories"
        if column.min_count is None
        else f"{was} in fewer than {column.min_count:,} rows that were learnt",
        OutsideKind.NULL: f"{is_} NULL, which it never was in training",
        OutsideKind.NOT_A_NUMBER: f"{is_} not a number",
    }[found.kind]
    if found.kind is OutsideKind.NULL:
        named = "1 value"
    subject = f"{named if number == 1 else f'{number:,} values'} {what}"
    if found.conditioned_on is None:
        known = ""
        if found.kind is OutsideKind.CATEGORY:
            known = f"; they are {listing(column.categories)}"
        return f"column {column.name!r}: {subject}; counted as not known{known}"
    if column.kind is Kind.CATEGORICAL:
        return f"column {column.name!r}: {subject}; conditioned on {found.conditioned_on!r}"
    nearest = bound_text(column, found.conditioned_on)
    if number > 1 and found.kind is OutsideKind.BETWEEN:
        return f"column {column.name!r}: {subject}; conditioned on the nearest value that was"
    return f"column {column.name!r}: {subject}; conditioned on the nearest value, {nearest}"
