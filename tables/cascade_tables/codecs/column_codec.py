"""What every column's codec does, and the checks that they share; see `listed_codec` for columns of
few values and `binned_codec` for numbers of many."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.layout import Role
from cascade_tables.errors import ValueNotAllowed, listing
from cascade_tables.frame import ColumnData
from cascade_tables.schema import Column, Kind, bound_text

Tokens = NDArray[np.int32]


class ColumnCodec(Protocol):
    """What `Codec` asks of a column's codec."""

    column: Column
    sizes: tuple[int, ...]
    roles: tuple[Role, ...]
    positions: tuple[NDArray[np.float32] | None, ...]
    # By token, where one says all there is to say of a value: Python's own, None for NULL.
    listed: Sequence[Any] | None

    def encode(self, data: ColumnData) -> Tokens:
        """Values of a table to tokens [n, slots]; numbers not seen in fitting take the nearest.

        Raises:
            ValueNotAllowed: NULL, or a category, that the column does not have.
        """

    def encode_value(self, value: Any, notices: list[str]) -> tuple[int, ...]:
        """One value from outside (None: NULL), checked, to its tokens.

        Raises:
            ValueNotAllowed: the column cannot have it.
        """

    def decode(self, tokens: Tokens, uniform: NDArray[np.float64] | None) -> ColumnData:
        """Tokens [n, slots] to values.

        Args:
            tokens: int32 [n, slots].
            uniform: [n], which place inside a bin; None: the column is listed, and has no bins.
        """

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe state, without the schema's."""


def allowed_values(column: Column) -> str:
    """What a column may hold, in words, for an error."""
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


def check_number(column: Column, value: Any) -> float | int:
    """A number within the column's bounds, as the column stores it.

    Raises:
        ValueNotAllowed: not a number, not whole where it must be, not finite, out of bounds.
    """
    plain = type(value) is int or type(value) is float
    number = value if plain else _as_number(column.kind, value)
    assert column.minimum is not None
    assert column.maximum is not None
    # NaN fails both comparisons.
    allowed = number is not None and column.minimum <= number <= column.maximum
    if column.kind is Kind.CONTINUOUS and allowed:
        return float(number)
    if not allowed or number != int(number):
        raise ValueNotAllowed(column.name, value, allowed_values(column))
    return int(number)


def _as_number(kind: Kind, value: Any) -> Any:
    """What stands for a number as a Python number: NumPy's numbers, and date-times where they are
    the column's; None: nothing else does."""
    numeric = isinstance(value, int | float | np.integer | np.floating)
    if numeric and not isinstance(value, bool | np.timedelta64):
        return value.item() if isinstance(value, np.generic) else value
    if kind is not Kind.DATETIME or not isinstance(value, datetime | np.datetime64):
        return None
    ahead = timedelta(0)
    if isinstance(value, datetime) and value.tzinfo is not None:
        ahead, value = value.utcoffset() or ahead, value.replace(tzinfo=None)
    return int(np.datetime64(value, "us").astype(np.int64)) - ahead // timedelta(microseconds=1)


# NULL's token, where a column may be NULL; a binned column has it twice.
NULL_TOKEN = 0


def refuse_null(column: Column) -> ValueNotAllowed:
    """The error for a NULL that the column cannot have."""
    return ValueNotAllowed(column.name, None, allowed_values(column))


def check_nulls(column: Column, data: ColumnData) -> None:
    """Refuse values of which some are NULL, where the column cannot be.

    Raises:
        ValueNotAllowed: they are.
    """
    if not column.nullable and data.null.any():
        raise refuse_null(column)


def numbers(column: Column, data: ColumnData, present_only: bool = True) -> NDArray[Any]:
    """A number column's values as float64 (continuous) or int64 (whole; date-times as µs)."""
    # A NULL's placeholder may be NaN, which no whole number is.
    zero = np.zeros(1, data.values.dtype)
    values = data.present() if present_only else np.where(data.null, zero, data.values)
    return values.astype(np.float64 if column.kind is Kind.CONTINUOUS else np.int64)


def typed(kind: Kind, values: NDArray[Any]) -> NDArray[Any]:
    """Values in the element type that a Frame holds this kind in."""
    if kind is Kind.DATETIME:
        return values.astype(np.int64).astype("datetime64[us]")
    if kind is Kind.INTEGER:
        return values.astype(np.int64)
    if kind is Kind.CONTINUOUS:
        return values.astype(np.float64)
    return values
