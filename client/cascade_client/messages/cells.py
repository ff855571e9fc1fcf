"""Cells in the form for the wire, and conversion of dicts; `frames` has all other forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from cascade_proto.cells import (
    ABSENT_CELL,
    ABSENT_STATE,
    NULL_CELL,
    NULL_STATE,
    OBSERVED_CELL,
    OBSERVED_STATE,
)
from numpy.typing import NDArray

from cascade_client.errors import InvalidRequest

OBSERVED, NULL, ABSENT = OBSERVED_STATE, NULL_STATE, ABSENT_STATE

Nulls = Literal["observed", "fill"]
NULLS: tuple[Nulls, ...] = ("observed", "fill")

PLAIN_TYPES = frozenset({bool, int, float, str, datetime})


class _Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = _Missing()
"""Marks a cell of a dict as absent, like leaving its key out: it is to be synthesised."""


# Result for a value that means "no value": NaN, NaT or NA.
EMPTY: Final = object()


# A column of an answer: its name, its values and which of them are NULL.
Column = tuple[str, NDArray[Any], NDArray[np.bool_]]


class Form(StrEnum):
    """Form of the caller's rows, and so of the answer's, if they are no frame."""

    ROW = "row"
    ROWS = "rows"


class Cells(NamedTuple):
    """One column of a request; a tuple, because a real-time call creates one per column.

    Attributes:
        name: the column's name.
        observed: its observed values in row order, each a bool, int, float, str or datetime.
        states: one byte per row: OBSERVED, NULL or ABSENT.
    """

    name: str
    observed: list[Any]
    states: bytes


def of_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[Cells, ...]:
    """Return the columns of rows given as dicts."""
    if len(rows) == 1:
        return tuple([_cell(name, value) for name, value in rows[0].items()])
    names = dict.fromkeys(name for row in rows for name in row)
    return tuple(_cells(name, [row.get(name, MISSING) for row in rows]) for name in names)


def _cells(name: str, values: list[Any]) -> Cells:
    states = bytearray(len(values))
    observed = []
    for row, value in enumerate(values):
        if value is MISSING:
            states[row] = ABSENT
        elif value is None or (cell := plain(name, value)) is EMPTY:
            states[row] = NULL
        else:
            observed.append(cell)
    return Cells(name_of(name), observed, bytes(states))


def _cell(name: str, value: Any) -> Cells:
    if value is MISSING:
        return Cells(name_of(name), [], ABSENT_CELL)
    if value is None or (cell := plain(name, value)) is EMPTY:
        return Cells(name_of(name), [], NULL_CELL)
    return Cells(name_of(name), [cell], OBSERVED_CELL)


def name_of(name: Any) -> str:
    """Check the name of a column.

    Raises:
        InvalidRequest: it is no string.
    """
    if not isinstance(name, str):
        raise InvalidRequest(f"column name {name!r} is a {type(name).__name__}; a str is allowed")
    return name


def plain(name: str, value: Any) -> Any:
    """Return the value as a bool, int, float, str or datetime, or EMPTY.

    Raises:
        InvalidRequest: it cannot be stored in a table.
    """
    if type(value) in PLAIN_TYPES:
        return value if value == value else EMPTY  # NaN is not equal to itself
    # pandas' NaT claims to be a datetime, and its NA is no type at all.
    if type(value).__name__ in ("NaTType", "NAType"):
        return EMPTY
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
        if value is None:  # NumPy's NaT
            return EMPTY
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bool, int, float, str, datetime)):
        return value if value == value else EMPTY
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    if isinstance(value, Decimal):
        return EMPTY if value.is_nan() else float(value)
    raise InvalidRequest(
        f"column {name!r}: {value!r} is a {type(value).__name__}; a number, a string, a boolean, "
        "a date-time, None (NULL) or cascade_client.MISSING is allowed"
    )


def with_holes(name: Any, values: list[Any], empty: Any) -> Cells:
    """Build a column of a frame.

    Args:
        name: its name.
        values: of the cells that have one, in order.
        empty: bool per row, whether the cell has no value.
    """
    states = np.where(empty, np.uint8(NULL_STATE), np.uint8(OBSERVED_STATE)).tobytes()
    return Cells(name_of(name), [plain(name, value) for value in values], states)
