"""Unification of two columns' types, the same for frames of every kind.

A caller's column may have another type than the table's: date-times as text, as dates or as
microseconds, or categories that are numbers. Drawn values are written like the rest of the column
if possible; otherwise the whole column is converted to a type that holds both. No column comes back
with mixed types, which neither a file nor a sum accepts.
"""

from __future__ import annotations

from typing import Any, Protocol

from cascade_client.columns.sorts import NUMBERS, TIMES, Sort


class Columns(Protocol):
    """Operations on one kind of column. None of them changes the given column."""

    def sort(self, column: Any) -> Sort:
        """Return the sort of its cells."""

    def declared(self, column: Any) -> Sort:
        """Return the sort that its type is for; EMPTY: any."""

    def cast(self, cells: Any, column: Any) -> Any | None:
        """Convert cells to the type of a column; None if it cannot hold all of them unchanged."""

    def common(self, column: Any, cells: Any) -> tuple[Any, Any] | None:
        """Convert both to a type that holds each cell unchanged; None if there is none."""

    def blank(self, cells: Any, column: Any) -> Any:
        """Return as many empty cells as `cells` has, in the type of a column in which there is
        `room`.
        """

    def room(self, column: Any) -> Any:
        """Convert a column to a type in which cells may be empty."""

    def text(self, cells: Any, like: Any) -> Any:
        """Convert cells to text as `sorts.text` does; date-times have a zone if `like` has it."""

    def numbers(self, cells: Any) -> Any:
        """Parse text as numbers; return it unchanged if it is not all numbers."""

    def decimals(self, cells: Any) -> Any:
        """Convert numbers to decimals, if decimals are values and not the column's type."""

    def moments(self, cells: Any) -> Any:
        """Convert dates to date-times, at midnight."""

    def microseconds(self, cells: Any) -> Any:
        """Convert date-times to microseconds since 1970-01-01 UTC, as on the wire."""


def agreed(kind: Columns, column: Any, cells: Any) -> tuple[Any, Any]:
    """Convert a column, and cells to put into it, to one type.

    This is the column's own type if it can hold the cells, which are written like the rest:
    date-times as ISO 8601 in text, as microseconds among numbers, in the column's zone. Otherwise
    it is a type that holds both: date-times for dates, wider numbers, and text for everything
    without a common type.

    Args:
        kind: operations on such columns.
        column: some or all of its cells may be empty.
        cells: likewise.
    """
    had, come = kind.sort(column), kind.sort(cells)
    if come is Sort.EMPTY:
        column = kind.room(column)
        return column, kind.blank(cells, column)
    if had is Sort.EMPTY:
        cast = _in_empty(kind, column, cells, come)
        if cast is not None:
            return column, cast
        cells = kind.room(cells)
        return kind.blank(column, cells), cells
    cells = _as(had, kind, cells, come, column)
    cast, come = kind.cast(cells, column), kind.sort(cells)
    if cast is not None:
        return column, cast
    if {had, come} <= TIMES:
        column, cells = kind.moments(column), kind.moments(cells)
    sorts = {had, come}
    if len(sorts) == 1 or Sort.MIXED in sorts or sorts <= NUMBERS or sorts <= TIMES:
        both = kind.common(column, cells)
        if both is not None:
            return both
    column, cells = kind.text(column, column), kind.text(cells, column)
    cast = kind.cast(cells, column)
    return (column, cells) if cast is None else (column, cast)


def _as(had: Sort, kind: Columns, cells: Any, come: Sort, column: Any) -> Any:
    """Write cells like those of a column."""
    if had is Sort.TEXT and come is not Sort.TEXT:
        return kind.text(cells, column)
    if had in (Sort.WHOLE, Sort.REAL) and come is Sort.MOMENT:
        return kind.microseconds(cells)
    if had in (Sort.WHOLE, Sort.REAL) and come is Sort.TEXT:
        return kind.numbers(cells)
    if had is Sort.DECIMAL and come in NUMBERS:
        return kind.decimals(cells)
    return cells


def _in_empty(kind: Columns, column: Any, cells: Any, come: Sort) -> Any | None:
    """Convert cells to the type of an empty column.

    No cell shows how that column is used, so its type stays only if it is made for such cells.
    """
    declared = kind.declared(column)
    # The column is for whole numbers, and the categories' names are whole numbers.
    if declared is Sort.WHOLE and come is Sort.TEXT:
        return kind.cast(kind.numbers(cells), column)
    if declared in (Sort.EMPTY, come) or (declared in NUMBERS and come in NUMBERS - {Sort.BOOLEAN}):
        return kind.cast(cells, column)
    return None
