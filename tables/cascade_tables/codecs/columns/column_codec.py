"""The interface of column codecs, and their common checks.

See `listed_codec` for columns of few values and `binned_codec` for numbers with many.
"""

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
    """Interface of a column's codec."""

    column: Column
    sizes: tuple[int, ...]
    roles: tuple[Role, ...]
    positions: tuple[NDArray[np.float32] | None, ...]
    # Python values by token, for tokens that determine their value; None for NULL. If tokens do not
    # determine values, `decode` needs a uniform number per row.
    listed: Sequence[Any] | None

    def encode(self, data: ColumnData) -> Tokens:
        """Encode values of a table to tokens [n, slots]; numbers not seen in fitting take the
        nearest.

        Raises:
            ValueNotAllowed: NULL, or a category, that the column does not have.
        """

    def encode_value(self, value: Any, outside: list[Outside]) -> tuple[int, ...]:
        """Encode one value of a caller (None: NULL) to its tokens.

        Args:
            value: of any type.
            outside: the treatment of a value outside the learnt range is appended.

        Returns:
            Zeros if it counts as not known, as `outside` says, or if the column cannot hold it.
        """

    def decode(self, tokens: Tokens, uniform: NDArray[np.float64] | None) -> ColumnData:
        """Decode tokens [n, slots] to values.

        Args:
            tokens: int32 [n, slots].
            uniform: [n], chooses the place inside a bin, or among categories that share a token;
                None: the column has no bins, and such categories become the label of their token.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-safe state, without the schema's."""


def within_bounds(column: Column, value: Any, outside: list[Outside]) -> float | int | None:
    """Convert a caller's number to the column's form; clip it to the bounds.

    Args:
        column: of numbers.
        value: of any type but None.
        outside: the treatment of a value beyond the bounds is appended.

    Returns:
        None if the column cannot hold it, or it is NaN.
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
    """Convert a number to the form of a column kind: real, or a 64-bit integer.

    None: the column cannot hold it, such as text, 2.5 among whole numbers, or a value beyond any
    float.
    """
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
    """Convert NumPy's numbers, and date-times of a date-time column, to a Python number; None:
    anything else.
    """
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


# NULL's token in a nullable column; a binned column has it twice.
NULL_TOKEN = 0


def check_nulls(column: Column, data: ColumnData) -> None:
    """Refuse NULLs in a column that is not nullable.

    Raises:
        ValueNotAllowed: there are some.
    """
    if not column.nullable and data.null.any():
        raise ValueNotAllowed(column.name, None, allowed_values(column))


def numbers(column: Column, data: ColumnData, present_only: bool = True) -> NDArray[Any]:
    """Return a number column's values as float64 (continuous) or int64 (whole; date-times
    as µs).
    """
    # A NULL's placeholder may be NaN, which is not an integer.
    zero = np.zeros(1, data.values.dtype)
    values = data.present() if present_only else np.where(data.null, zero, data.values)
    return values.astype(np.float64 if column.kind is Kind.CONTINUOUS else np.int64)


def typed(kind: Kind, values: NDArray[Any]) -> NDArray[Any]:
    """Convert values to the element type of this kind in a Frame."""
    if kind is Kind.DATETIME:
        return values.astype(np.int64).astype("datetime64[us]")
    if kind is Kind.INTEGER:
        return values.astype(np.int64)
    if kind is Kind.CONTINUOUS:
        return values.astype(np.float64)
    return values
