"""Arithmetic of a relation: computing any column from the others, and checking whether it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.absent import ABSENT
from cascade_tables.codecs.columns.column_codec import stored
from cascade_tables.frame import ColumnData
from cascade_tables.relation import UNITS, Relation
from cascade_tables.relations.whole import (
    LARGEST,
    LARGEST_DECIMAL,
    Whole,
    as_whole,
    whole_moment,
    whole_number,
)
from cascade_tables.schema import Column, Kind, Schema

Mask = NDArray[np.bool_]


@dataclass(eq=False)
class Cells:
    """A column's numbers in some rows, which arithmetic may change.

    Attributes:
        values: float64 [n], or int64 [n] for whole numbers and date-times (microseconds); a
            placeholder where NULL. Modified.
        null: bool [n].
        drawn: bool [n], the rows in which it was not given: only these may be changed.
    """

    values: NDArray[Any]
    null: Mask
    drawn: Mask


def cells_of(
    column: Column, data: ColumnData | None, given: Sequence[Any] | None, rows: int
) -> Cells:
    """Combine a column's drawn and given numbers.

    Args:
        column: of numbers or date-times.
        data: drawn values, [n]; None: none.
        given: given values, of n rows or of one row per several of them; `ABSENT` where it was
            drawn; None: none.
        rows: n.
    """
    dtype = np.float64 if column.kind is Kind.CONTINUOUS else np.int64
    if data is None:
        values, null = np.zeros(rows, dtype), np.ones(rows, np.bool_)
    else:
        values, null = data.values.astype(dtype), data.null.copy()
    drawn = np.ones(rows, np.bool_)
    each = rows // max(1, len(given or ()))
    for row, value in enumerate(given or ()):
        if value is ABSENT:
            continue
        here = slice(row * each, (row + 1) * each)
        number = given_number(column.kind, value)
        drawn[here], null[here] = False, number is None
        values[here] = 0 if number is None else number
    return Cells(values, null, drawn)


def given_number(kind: Kind, value: Any) -> float | int | None:
    """Convert a given value to a sum's number; None: NULL, or NaN, from which nothing follows."""
    number = None if value is None else stored(kind, value)
    return number if number == number else None


def one_cell(kind: Kind, value: float | int | None) -> ColumnData:
    """Build a column of one row: None is NULL, date-times are microseconds."""
    dtype = np.float64 if kind is Kind.CONTINUOUS else np.int64
    return ColumnData(np.array([value or 0], dtype), np.array([value is None]), "")


class Term(NamedTuple):
    """One column of a sum.

    Attributes:
        place: index of the column in the schema.
        column: the column.
        sign: 1 or −1; the signed whole numbers of a sum's columns add up to zero.
        unit: see `as_whole`; None: the number 1 is 10^decimals.
    """

    place: int
    column: Column
    sign: int
    unit: int | None


class Part(NamedTuple):
    """A column's number in the units of a sum.

    Attributes:
        place: index of the column in the schema.
        decimals: of the sum; None: it compares numbers unchanged.
        unit: see `Term`.
        is_date: whether it is a date-time, in microseconds.
    """

    place: int
    decimals: int | None
    unit: int | None
    is_date: bool

    def whole(self, number: float | int) -> float | int | None:
        """Return the number as a whole one; None: it is not, or is a zero, which gives a sum no
        information.
        """
        if self.decimals is None:
            return number or None
        if self.is_date:
            return whole_moment(number)
        return whole_number(number, self.decimals, self.unit) or None

    def counter(self) -> Callable[[float | int], float | int | None]:
        """Return a version of `whole` that takes a fifth of the time for ordinary whole numbers."""
        if self.decimals is None or self.is_date:
            return self.whole
        whole, step = self.whole, 10**self.decimals if self.unit is None else self.unit
        # Far from where a sum might overflow.
        sure = int(LARGEST) // (2 * step)

        def count(number: float | int) -> float | int | None:
            if number.__class__ is int and -sure < number < sure:
                return number * step or None
            return whole(number)

        return count


class Sum:
    """A relation, which computes any of its columns from the others.

    Attributes:
        bounds: for each term, the least and the largest of its column's numbers that the sum counts
            exactly.
    """

    def __init__(self, relation: Relation, schema: Schema) -> None:
        formula, names = relation.formula, schema.names
        self.decimals, self.always = relation.decimals, relation.always
        unit = None if formula.unit is None else UNITS[formula.unit]
        terms = []
        for name, sign in formula.signs.items():
            place = names.index(name)
            column = schema.columns[place]
            is_date = column.kind is Kind.DATETIME
            terms.append(Term(place, column, sign, None if is_date else unit))
        self.terms = tuple(sorted(terms))
        self.places = tuple(term.place for term in self.terms)
        self.signs = [term.sign for term in self.terms]
        self.dates = [term.column.kind is Kind.DATETIME for term in self.terms]
        self.bounds = [self._bounds(term) for term in self.terms]

    def _bounds(self, term: Term) -> tuple[float | int, float | int]:
        low, high = term.column.minimum, term.column.maximum
        assert low is not None
        assert high is not None
        # The user's bounds may have more decimals than the sum.
        step = 0.0 if self.decimals is None else 10.0**-self.decimals
        least, most = self.rounded_one(term, low), self.rounded_one(term, high)
        if least < low:
            least = self.rounded_one(term, least + step)
        if most > high:
            most = self.rounded_one(term, most - step)
        return (least, most) if least <= most else (low, high)

    def may_leave_type(self, pivot: int) -> bool:
        """Return whether a column of whole numbers may exceed its source's type if the others are
        within their bounds.
        """
        term = self.terms[pivot]
        dtype = term.column.dtype
        if term.column.kind is not Kind.INTEGER or not dtype.lstrip("u").startswith("int"):
            return False

        def counted(other: Term, bound: float | int) -> float:
            if other.column.kind is Kind.DATETIME:
                return float(bound)
            return float(bound) * (other.unit or 10 ** (self.decimals or 0))

        ends = np.zeros(2)
        for other, bounds in zip(self.terms, self.bounds, strict=True):
            if other is not term:
                ends += sorted(-other.sign * term.sign * counted(other, each) for each in bounds)
        low, high = ends / (term.unit or 10 ** (self.decimals or 0))
        room = np.iinfo(dtype)
        return bool(low < float(room.min) or high > float(room.max))

    def whole(self, term: Term, values: NDArray[Any], null: Mask) -> Whole:
        """Convert a column's numbers to whole ones that can be added."""
        kind = term.column.kind
        if kind is not Kind.CONTINUOUS:
            # A NULL's placeholder may be no number at all.
            values = np.where(null, 0, values).astype(np.int64)
        if kind is Kind.DATETIME:
            values = values.view("datetime64[us]")
        return as_whole(ColumnData(values, null, ""), self.decimals, term.unit)

    def rounded(self, term: Term, values: NDArray[Any]) -> NDArray[Any]:
        """Round a column's numbers to the sum's decimals; those too large to have such decimals are
        unchanged.
        """
        if self.decimals is None or term.column.kind is not Kind.CONTINUOUS:
            return values
        scale = 10**self.decimals
        fits = np.abs(values) < LARGEST_DECIMAL / scale
        return np.where(fits, np.rint(np.where(fits, values, 0.0) * scale) / scale, values)

    def rounded_one(self, term: Term, value: float | int) -> float | int:
        """`rounded` of one number."""
        if self.decimals is None or term.column.kind is not Kind.CONTINUOUS:
            return value
        scale = 10**self.decimals
        fits = abs(value) < LARGEST_DECIMAL / scale
        return round(value * scale) / scale if fits else value

    def computed_one(
        self, pivot: int, numbers: Mapping[int, float | int | None]
    ) -> tuple[float | int, bool, bool]:
        """Compute `computed` for one row.

        Args:
            pivot: index of the computed term.
            numbers: of its columns, by index; none of the others is NULL.
        """
        term, column = self.terms[pivot], self.terms[pivot].column
        low, high = column.minimum, column.maximum
        assert low is not None
        assert high is not None
        if self.decimals is None:
            # Only two numbers are compared as they are: this one is the other.
            (other,) = (each for each in self.terms if each is not term)
            number = numbers[other.place]
            assert number is not None
            value: float | int = number + 0.0
            return value, True, low <= value <= high
        total, known = 0, True
        for other in self.terms:
            if other is term:
                continue
            number = numbers[other.place]
            assert number is not None
            whole = (
                whole_moment(number)
                if other.column.kind is Kind.DATETIME
                else whole_number(number, self.decimals, other.unit)
            )
            known = known and whole is not None
            total -= other.sign * (whole or 0)
        total *= term.sign
        fits = True
        value = total
        if column.kind is not Kind.DATETIME:
            step = 10**self.decimals if term.unit is None else term.unit
            if column.kind is Kind.INTEGER:
                value, fits = total // step, total % step == 0
            else:
                # As arrays divide: beyond 2^53, Python's division of integers rounds differently.
                value = float(total) / step
        fits = fits and known
        return value, fits, fits and low <= value <= high

    def parts(self) -> list[Part]:
        """Return the parts in the order of `adds_up`'s argument; sums may share parts."""
        return [
            Part(term.place, self.decimals, term.unit, is_date)
            for term, is_date in zip(self.terms, self.dates, strict=True)
        ]

    def adds_up(self, wholes: Sequence[float | int]) -> bool:
        """Return whether it holds in one row and is informative: `measuring.outcome`, in a
        hundredth of the time.

        Args:
            wholes: the result of `Part.whole` for each of its parts.
        """
        signed = [sign * whole for sign, whole in zip(self.signs, wholes, strict=True)]
        if sum(signed) != 0:
            return False
        return len(signed) < 4 or all(signed[0] + other != 0 for other in signed[1:])

    def computed(
        self, pivot: int, cells: Mapping[int, Cells], rows: NDArray[np.intp]
    ) -> tuple[NDArray[Any], Mask, Mask]:
        """Compute a column from the others in some rows.

        Args:
            pivot: index of the computed term.
            cells: of its columns, by index.
            rows: their indices, m of them.

        Returns:
            Values [m]; bool [m], where the column can hold them; and where they are also within its
            bounds.
        """
        term = self.terms[pivot]
        total = np.zeros(len(rows), np.int64)
        known = np.ones(len(rows), np.bool_)
        for other in self.terms:
            if other is term:
                continue
            cell = cells[other.place]
            whole = self.whole(other, cell.values[rows], cell.null[rows])
            known &= whole.known
            total -= other.sign * whole.values
        total *= term.sign
        values, fits = self._as_column(term, total)
        column = term.column
        within = fits & known & (values >= column.minimum) & (values <= column.maximum)
        return values, fits & known, within

    def _as_column(self, term: Term, total: NDArray[np.int64]) -> tuple[NDArray[Any], Mask]:
        """Convert whole numbers to the column's own form, with a mask of those that it can hold."""
        every = np.ones(len(total), np.bool_)
        if self.decimals is None:
            # The bits of the other number itself.
            return total.view(np.float64), every
        if term.column.kind is Kind.DATETIME:
            return total, every
        step = 10**self.decimals if term.unit is None else term.unit
        if term.column.kind is Kind.INTEGER:
            return total // step, total % step == 0
        return total / step, every
