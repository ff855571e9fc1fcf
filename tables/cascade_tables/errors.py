"""What can be wrong with a table, a value or a release.

CascadeTablesError
├── DataError           a file or table cannot be used as data
├── SchemaError         a schema, or an override of one, does not hold together
├── UnknownColumn       a column the schema does not have
├── ValueNotAllowed     a value its column cannot have
├── FileRefused         a file that a person wrote cannot be read, or is beyond all bounds
└── ReleaseError        a release is incomplete, damaged or tampered with
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

# Beyond this many, a message names some of the choices and counts the rest.
SHOWN = 12


def listing(names: Iterable[object]) -> str:
    """Choices for a message: all of a few, the first of many."""
    every = [str(name) for name in names]
    rest = len(every) - SHOWN
    return ", ".join(every[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def shown(value: Any) -> str:
    """A value for a message: its `repr`, cut short."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class CascadeTablesError(ValueError):
    """Base of this package's errors; messages name the culprit and what is allowed."""


class DataError(CascadeTablesError):
    """A file or table cannot be used as data."""


class SchemaError(CascadeTablesError):
    """A schema or an override does not hold together."""


class UnknownColumn(CascadeTablesError):
    """A column the schema does not have.

    Attributes:
        column: the name that was given.
        allowed: the names there are.
    """

    def __init__(self, column: str, allowed: Iterable[str], why: str = "") -> None:
        self.column, self.allowed = column, tuple(allowed)
        close = get_close_matches(column, self.allowed, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        reason = f" ({why})" if why else ""
        super().__init__(
            f"unknown column {column!r}{reason}; the columns are: {listing(self.allowed)}.{hint}"
        )


class ValueNotAllowed(CascadeTablesError):
    """A value its column cannot have.

    Attributes:
        column: the column's name.
        value: the value that was given.
        allowed: what is allowed, in words.
    """

    def __init__(self, column: str, value: Any, allowed: str) -> None:
        self.column, self.value, self.allowed = column, value, allowed
        super().__init__(f"column {column!r}: {shown(value)} is not allowed; allowed: {allowed}")


class ReleaseError(CascadeTablesError):
    """A release is incomplete, damaged or tampered with."""


class FileRefused(CascadeTablesError):
    """A file that a person wrote cannot be read, or is beyond what such a file may be.

    Messages name the file, and the line where there is one.
    """
