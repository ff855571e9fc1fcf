"""What every column's codec does, and the checks that they share; see `listed_codec` for columns of
few values and `binned_codec` for numbers of many."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.columns.outside import Outside, OutsideKind, allowed_values
from cascade_tables.errors import ValueNotAllowed
from cascade_tables.frame import ColumnData
from cascade_tables.schema import Column, Kind

Tokens = NDArray[np.int32]
Role = Literal["value", "coarse", "fine"]


class ColumnCodec(Protocol):
    """What `Codec` asks of a column's codec."""

    column: Column
    sizes: tuple[int, ...]
    roles: tuple[Role, ...]
    positions: tuple[NDArray[np.float32] | None, ...]
    # By token, where one says all there is to say of a value: Python's own, None for NULL. Where it
    # does not, `decode` needs a uniform number a row.
    listed: Sequence[Any] | None

    def encode(self, data: ColumnData) -> Tokens:
        """Values of a table to tokens [n, slots]; numbers not seen in fitting take the nearest.

        Raises:
            ValueNotAllowed: NULL, or a category, that the column does not have.
        """

    def encode_value(self, value: Any, outside: list[Outside]) -> tuple[int, ...]:
        """One value that a caller gave (None: NULL) to its tokens.

        Args:
            value: of any type.
            outside: what was made of it is added, where it is outside of what was learnt.

        Returns:
            Zeros where it counts as not known, as `outside` says, or is nothing that the column
            can hold.
        """

    def decode(self, tokens: Tokens, uniform: NDArray[np.float64] | None) -> ColumnData:
        """Tokens [n, slots] to values.

        Args:
            tokens: int32 [n, slots].
            uniform: [n], which place inside a bin, or which of the categories that share a token;
                None: the column has no bins, and such categories stay the label of their token.
        """

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe state, without the schema's."""


def within_bounds(column: Column, value: Any, outside: list[Outside]) -> float | int | None:
    """A number that a caller gave, as the column stores it; of one beyond the bounds, the bound.

    Args:
        column: of numbers.
        value: of any type but None.
        outside: what was made of it is added, unless it is within the bounds.

    Returns:
        None where it is none that the column can hold, or not a number.
    """
    number = stored(column.kind, value)
    if number is None:
        outside.append(Outside(column, OutsideKind.WRONG))
        return None
    low, high = column.minimum, column.maximum
    assert low is not None
    assert high is not None
    if low <= number <= high:
        return number
    if number != number:
        outside.append(Outside(column, OutsideKind.NOT_A_NUMBER))
        return None
    below = number < low
    kind, bound = (OutsideKind.BELOW, low) if below else (OutsideKind.ABOVE, high)
    outside.append(Outside(column, kind, bound))
    return bound


def stored(kind: Kind, value: Any) -> float | int | None:
    """A number as a column of this kind stores it: real, or whole and of 64 bits; None: the column
    cannot hold it, as text, 2.5 where numbers are whole, or what no float can be."""
    plain = type(value) is int or type(value) is float
    number = value if plain else _as_number(kind, value)
    if number is None:
        return None
    if kind is Kind.CONTINUOUS:
        try:
            return float(number)
        except OverflowError:
            return None
    if isinstance(number, float) and not number.is_integer():
        return None
    return int(number) if -(2**63) <= number < 2**63 else None


def _as_number(kind: Kind, value: Any) -> Any:
    """What stands for a number as a Python number: NumPy's numbers, and date-times where they are
    the column's; None: nothing else does."""
    numeric = isinstance(value, int | float | np.integer | np.floating)
    if numeric and not isinstance(value, bool | np.timedelta64):
        return value.item() if isinstance(value, np.generic) else value
    if kind is not Kind.DATETIME or not isinstance(value, datetime | np.datetime64):
        return None
    if value != value:  # NaT
        return None
    ahead = timedelta(0)
    if isinstance(value, datetime) and value.tzinfo is not None:
        ahead, value = value.utcoffset() or ahead, value.replace(tzinfo=None)
    return int(np.datetime64(value, "us").astype(np.int64)) - ahead // timedelta(microseconds=1)


# NULL's token, where a column may be NULL; a binned column has it twice.
NULL_TOKEN = 0


def check_nulls(column: Column, data: ColumnData) -> None:
    """Refuse values of which some are NULL, where the column cannot be.

    Raises:
        ValueNotAllowed: they are.
    """
    if not column.nullable and data.null.any():
        raise ValueNotAllowed(column.name, None, allowed_values(column))


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
