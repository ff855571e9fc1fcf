"""Sorts of a column's cells, independent of the package, and conversion of one sort to another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any

import numpy as np


class Sort(StrEnum):
    """Sort of a column's cells, ignoring empty ones."""

    EMPTY = "empty"  # there are no others
    TEXT = "text"
    WHOLE = "whole"
    REAL = "real"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    MOMENT = "moment"
    DATE = "date"
    OTHER = "other"
    MIXED = "mixed"  # several, which nothing is written as


NUMBERS = frozenset({Sort.WHOLE, Sort.REAL, Sort.DECIMAL, Sort.BOOLEAN})
TIMES = frozenset({Sort.MOMENT, Sort.DATE})


def sort_of(values: Iterable[Any]) -> Sort:
    """Return the sort of Python's values, none of which is empty."""
    sorts = {_sort_of(type_) for type_ in set(map(type, values))}
    if not sorts:
        return Sort.EMPTY
    if len(sorts) == 1:
        return sorts.pop()
    if sorts == {Sort.WHOLE, Sort.REAL}:
        return Sort.REAL
    return Sort.MOMENT if sorts == TIMES else Sort.MIXED


@cache
def _sort_of(type_: type) -> Sort:
    sorts: Sequence[tuple[tuple[type, ...], Sort]] = (
        ((str,), Sort.TEXT),
        ((bool, np.bool_), Sort.BOOLEAN),  # before int, which bool is too
        ((np.timedelta64,), Sort.OTHER),  # before NumPy's integers, one of which it is
        ((int, np.integer), Sort.WHOLE),
        ((float, np.floating), Sort.REAL),
        ((Decimal,), Sort.DECIMAL),
        ((datetime, np.datetime64), Sort.MOMENT),  # before date, which datetime is too
        ((date,), Sort.DATE),
    )
    return next((sort for types, sort in sorts if issubclass(type_, types)), Sort.OTHER)


def text(value: Any, zoned: bool = False) -> str:
    """Format a value as text: ISO 8601 for a time, 2 for 2.0, like a category's name.

    Args:
        value: not empty.
        zoned: whether to mark a date-time without a zone as UTC.
    """
    if isinstance(value, datetime) and zoned and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    if isinstance(value, date):  # a datetime too
        return value.isoformat()
    if isinstance(value, (float, np.floating)) and value.is_integer() and abs(float(value)) < 1e16:
        return str(int(value))
    return str(value)


def is_zoned(value: str) -> bool:
    """Return whether text is a date-time with a zone."""
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def numbers(values: Sequence[str]) -> list[Any] | None:
    """Parse numbers that are written as text; None if some text is not such a number."""
    for type_ in (int, float):
        try:
            found = [type_(value) for value in values]
        except ValueError:
            continue
        if all(text(one) == other for one, other in zip(found, values, strict=True)):
            return found
    return None
