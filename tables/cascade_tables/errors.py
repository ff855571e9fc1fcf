"""What can be wrong with a table, a value or a release.

CascadeTablesError
├── DataError           a file or table cannot be used as data
├── SchemaError         a schema, or an override of one, does not hold together
├── UnknownColumn       a column the schema does not have
├── ValueNotAllowed     a value its column cannot have
│   └── ValuesNotAllowed    several of them
├── FileRefused         a file that a person wrote cannot be read, or is beyond all bounds
└── ReleaseError        a release is incomplete, damaged or tampered with
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from reprlib import Repr
from typing import Any, NamedTuple

# Most choices that a message names before it counts the rest.
SHOWN = 12
# Most characters of a value, and of one of the choices.
LONGEST_VALUE, LONGEST_CHOICE = 60, 120
# Most names that are compared with an unknown one, and their length: the time grows with the square
# of the length, and the sender of the name does not pay for it.
MOST_COMPARED, LONGEST_COMPARED = 100, 40
# Most bits of an integer that is written out: Python refuses very long ones.
MOST_BITS = 4096

# Formats only as much of a value as a message has room for: a list of a million elements is not
# formatted in full first.
_repr = Repr()
_repr.maxlevel, _repr.maxlong = 3, MOST_BITS
_repr.maxstring = _repr.maxother = 4 * LONGEST_VALUE
_repr.maxlist = _repr.maxtuple = _repr.maxdict = _repr.maxset = _repr.maxfrozenset = 4 * SHOWN


def listing(names: Iterable[object]) -> str:
    """Format choices for a message: all if they are few, else the first ones, each cut."""
    every = list(names)
    rest = len(every) - SHOWN
    first = ", ".join(_cut(str(name), LONGEST_CHOICE) for name in every[:SHOWN])
    return first + (f" and {rest:,} more" if rest > 0 else "")


def shown(value: Any) -> str:
    """Format a value for a message: its `repr`, cut, in a time that does not depend on its size."""
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        return f"a whole number of {value.bit_length():,} bits"
    return _cut(_repr.repr(value), LONGEST_VALUE)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence, with a leading space, that suggests the known name nearest to an unknown
    one; empty if none is near.

    Only short names are compared, and of many only some with the same beginning: no suggestion is
    better than one that takes a second.

    Args:
        name: the unknown name.
        known: the existing names.
    """
    if len(name) > LONGEST_COMPARED:
        return ""
    short = [each for each in known if len(each) <= LONGEST_COMPARED]
    if len(short) > MOST_COMPARED:
        first = name[:1].casefold()
        short = [each for each in short if each[:1].casefold() == first][:MOST_COMPARED]
    close = get_close_matches(name, short, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def repeated(names: Iterable[str]) -> list[str]:
    """Return names that occur more than once, each once, in order; in linear time."""
    return [name for name, count in Counter(names).items() if count > 1]


class CascadeTablesError(ValueError):
    """Base of this package's errors; messages name the culprit and what is allowed."""


class DataError(CascadeTablesError):
    """A file or table cannot be used as data."""


class SchemaError(CascadeTablesError):
    """A schema or an override does not hold together."""


class UnknownColumn(CascadeTablesError):
    """A column the schema does not have.

    Attributes:
        column: the given name.
        allowed: the existing names.
    """

    def __init__(self, column: str, allowed: Iterable[str], why: str = "") -> None:
        self.column, self.allowed = column, tuple(allowed)
        reason = f" ({why})" if why else ""
        super().__init__(
            f"unknown column {shown(column)}{reason}; the columns are: {listing(self.allowed)}."
            f"{did_you_mean(column, self.allowed)}"
        )


class ValueNotAllowed(CascadeTablesError):
    """A value its column cannot have.

    Attributes:
        column: the column's name.
        value: the given value.
        allowed: description of what is allowed.
        row: its row among several, from 0; None: unknown.
    """

    def __init__(self, column: str, value: Any, allowed: str, row: int | None = None) -> None:
        self.column, self.value, self.allowed, self.row = column, value, allowed, row
        place = f"column {column!r}" + (f", row {row}" if row is not None else "")
        super().__init__(f"{place}: {shown(value)} is not allowed; allowed: {allowed}")

    def behind(self, rows: int) -> ValueNotAllowed:
        """Return the same error for a part of a table with this many rows before it."""
        row = None if self.row is None else self.row + rows
        return ValueNotAllowed(self.column, self.value, self.allowed, row)


class BadCell(NamedTuple):
    """A value that its column cannot have, with its position.

    Attributes:
        column, row: its position, rows from 0.
        value: the given value.
        allowed: description of what is allowed.
    """

    column: str
    row: int
    value: Any
    allowed: str


class ValuesNotAllowed(ValueNotAllowed):
    """Values their columns cannot have; `column` and the other single attributes are those of the
    first.

    Attributes:
        cells: the first of them.
        number: total number.
    """

    def __init__(self, cells: Sequence[BadCell], number: int) -> None:
        first = cells[0]
        super().__init__(first.column, first.value, first.allowed, first.row)
        self.cells, self.number = tuple(cells), number
        named = [f"{cell.column!r} row {cell.row} {shown(cell.value)}" for cell in cells]
        rest = f" and {number - len(named):,} more" if number > len(named) else ""
        allowed = {cell.column: cell.allowed for cell in cells}
        wanted = "; ".join(f"{column!r}: {words}" for column, words in allowed.items())
        self.args = (
            f"{number:,} values are not allowed: {', '.join(named)}{rest}; allowed: {wanted}",
        )

    def behind(self, rows: int) -> ValuesNotAllowed:
        moved = [cell._replace(row=cell.row + rows) for cell in self.cells]
        return ValuesNotAllowed(moved, self.number)


class ReleaseError(CascadeTablesError):
    """A release is incomplete, damaged or tampered with."""


class FileRefused(CascadeTablesError):
    """A file that a person wrote cannot be read, or is beyond what such a file may be.

    Messages name the file, and the line where there is one.
    """
