"""Columns that are lists of Python values, from dicts or object columns; None is empty."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np

from cascade_client.columns import agreeing, sorts
from cascade_client.columns.sorts import NUMBERS, Sort
from cascade_client.values.date_times import to_microseconds

Values = list[Any]


class Lists:
    """`agreeing.Columns` for lists. A list can hold anything, so its cells decide its sort."""

    def sort(self, column: Values) -> Sort:
        return sorts.sort_of(_known(column))

    def declared(self, column: Values) -> Sort:
        return Sort.EMPTY

    def cast(self, cells: Values, column: Values) -> Values | None:
        had, come = self.sort(column), self.sort(cells)
        if had is Sort.MOMENT and come is Sort.MOMENT:
            return self._zoned(cells, column)
        if had in (Sort.WHOLE, Sort.REAL) and come is Sort.BOOLEAN:
            return _each(cells, int)
        alike = had is come or Sort.EMPTY in (had, come)
        return cells if alike or {had, come} == {Sort.WHOLE, Sort.REAL} else None

    def _zoned(self, cells: Values, column: Values) -> Values | None:
        """Convert date-times to the zone of a column's date-times; None if some are dates."""
        known = _known(column)
        if not all(isinstance(value, datetime) for value in known):
            return None
        zone = known[0].tzinfo
        if zone is None:
            return _each(cells, lambda value: value)
        return _each(
            cells,
            lambda value: (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(zone),
        )

    def common(self, column: Values, cells: Values) -> tuple[Values, Values] | None:
        if self.sort(column) is Sort.BOOLEAN and self.sort(cells) in NUMBERS:
            return _each(column, int), cells
        return column, cells

    def blank(self, cells: Values, column: Values) -> Values:
        return [None] * len(cells)

    def room(self, column: Values) -> Values:
        return column

    def text(self, cells: Values, like: Values) -> Values:
        known = _known(like)
        zoned = bool(known) and isinstance(known[0], str) and sorts.is_zoned(known[0])
        return _each(cells, lambda value: sorts.text(value, zoned))

    def numbers(self, cells: Values) -> Values:
        known = sorts.numbers(_known(cells))
        if known is None:
            return cells
        left = iter(known)
        return _each(cells, lambda _: next(left))

    def decimals(self, cells: Values) -> Values:
        return _each(cells, lambda value: Decimal(str(+value)))  # of True, + makes 1

    def moments(self, cells: Values) -> Values:
        return _each(cells, _moment)

    def microseconds(self, cells: Values) -> Values:
        return _each(cells, to_microseconds)


def agreed(column: Values, cells: Values) -> tuple[Values, Values]:
    """Convert two lists to one type, as `agreeing.agreed` does."""
    return agreeing.agreed(LISTS, column, cells)


def _known(column: Values) -> Values:
    return [value for value in column if value is not None]


def _each(column: Values, change: Callable[[Any], Any]) -> Values:
    return [None if value is None else change(value) for value in column]


def _moment(value: Any) -> datetime:
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, datetime):
        return value
    return datetime(value.year, value.month, value.day)


LISTS = Lists()
