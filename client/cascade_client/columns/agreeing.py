"""How two columns come to one type, the same for frames of every kind.

A caller's column may be in another type than its table has it in: date-times as text, as dates or
as microseconds, categories that are numbers. What was drawn for its holes is written as the rest of
the column is, where that can be; else the whole column is written as something that holds both. No
column comes back with two types in it, which neither a file nor a sum takes.
"""

from __future__ import annotations

from typing import Any, Protocol

from cascade_client.columns.sorts import NUMBERS, TIMES, Sort


class Columns(Protocol):
    """What one kind of column can be asked for. None of it changes the column that is given."""

    def sort(self, column: Any) -> Sort:
        """What its cells are."""

    def declared(self, column: Any) -> Sort:
        """What its type is for; EMPTY: for anything."""

    def cast(self, cells: Any, column: Any) -> Any | None:
        """Cells in the type of a column; None: it does not hold all of them as they are."""

    def common(self, column: Any, cells: Any) -> tuple[Any, Any] | None:
        """Both in one type that holds each cell as it is; None: there is none."""

    def blank(self, cells: Any, column: Any) -> Any:
        """So many empty cells, in the type of a column in which there is `room`."""

    def room(self, column: Any) -> Any:
        """A column in a type in which cells may be empty."""

    def text(self, cells: Any, like: Any) -> Any:
        """Cells as text, as `sorts.text` has it; date-times with a zone where `like` has it."""

    def numbers(self, cells: Any) -> Any:
        """Text as the numbers that it says; itself, where it says none."""

    def decimals(self, cells: Any) -> Any:
        """Numbers as decimals, where such are values and no type of the column's."""

    def moments(self, cells: Any) -> Any:
        """Convert dates to date-times, at midnight."""

    def microseconds(self, cells: Any) -> Any:
        """Date-times as microseconds since 1970-01-01 UTC, as the wire has them."""


def agreed(kind: Columns, column: Any, cells: Any) -> tuple[Any, Any]:
    """A column, and cells that are to be in it, in one type.

    The column's own, where that holds the cells, which are written as the rest of it is: date-times
    as ISO 8601 where it has text, as microseconds where it has numbers, in its zone. Else one that
    holds both: date-times for dates, wider numbers, and text for all that has nothing in common.

    Args:
        kind: what can be done with such columns.
        column: may have empty cells, or no others.
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
    """Cells as those of a column are written."""
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
    """Cells in the type of a column that has none: what that is for, nobody has shown, and so it
    stays only where it is for such cells."""
    declared = kind.declared(column)
    # Categories whose names are whole numbers, of a column of these.
    if declared is Sort.WHOLE and come is Sort.TEXT:
        return kind.cast(kind.numbers(cells), column)
    if declared in (Sort.EMPTY, come) or (declared in NUMBERS and come in NUMBERS - {Sort.BOOLEAN}):
        return kind.cast(cells, column)
    return None
