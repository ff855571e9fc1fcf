"""Columns of polars: any type, including categories."""

from __future__ import annotations

from typing import Any

import numpy as np

from cascade_client.columns import agreeing
from cascade_client.columns.lists import LISTS
from cascade_client.columns.sorts import NUMBERS, Sort


def agreed(column: Any, cells: Any) -> tuple[Any, Any]:
    """Convert two Series of polars to one type, as `agreeing.agreed` does."""
    return agreeing.agreed(SERIES, column, cells)


def put(column: Any, into: Any, cells: Any) -> Any:
    """Replace some of a column's cells; it keeps its name.

    Args:
        column: a Series.
        into: positions in it, as many as there are cells.
        cells: a Series.
    """
    if not len(into):
        return column
    rows = np.arange(len(column))
    rows[into] = len(column) + np.arange(len(cells))
    return joined(*agreed(column, cells)).gather(rows)


def joined(column: Any, cells: Any) -> Any:
    """Concatenate two columns of one type."""
    import polars as pl

    return pl.concat([column, cells.rename(column.name)])


class PolarsSeries:
    """`agreeing.Columns` for Series of polars."""

    def sort(self, column: Any) -> Sort:
        known = column.drop_nulls()
        if column.dtype.is_float():
            known = known.drop_nans()
        return self.declared(column) if len(known) else Sort.EMPTY

    def declared(self, column: Any) -> Sort:
        import polars as pl

        dtype = column.dtype
        if dtype.is_float():
            return Sort.REAL
        if dtype.is_integer():
            return Sort.WHOLE
        told = {
            pl.Null: Sort.EMPTY,
            pl.Boolean: Sort.BOOLEAN,
            pl.Decimal: Sort.DECIMAL,
            pl.Datetime: Sort.MOMENT,
            pl.Date: Sort.DATE,
            pl.String: Sort.TEXT,
            pl.Categorical: Sort.TEXT,
            pl.Enum: Sort.TEXT,
        }
        return told.get(dtype.base_type(), Sort.OTHER)

    def cast(self, cells: Any, column: Any) -> Any | None:
        import polars as pl

        come, declared, wanted = self.declared(cells), self.declared(column), column.dtype
        if cells.dtype == wanted:
            return cells
        # Polars would convert a whole number to a moment, and a moment to its date.
        if come is not declared and not {come, declared} <= NUMBERS:
            return None
        try:
            if come is Sort.MOMENT:
                cells = _in_zone(cells, wanted.time_zone)
            cast = cells.cast(wanted)
            return cast if cast.cast(cells.dtype).eq_missing(cells).all() else None
        except pl.exceptions.PolarsError:
            return None

    def common(self, column: Any, cells: Any) -> tuple[Any, Any] | None:
        import polars as pl

        declared = self.declared(column)
        dtypes = [column.dtype, cells.dtype]
        if declared is Sort.MOMENT:
            dtypes = [pl.Datetime(unit, column.dtype.time_zone) for unit in ("us", "ns")]
        if declared in NUMBERS:
            dtypes += [pl.Int64(), pl.Float64()]
        for dtype in dtypes:
            like = pl.Series([], dtype=dtype)
            one, other = self.cast(column, like), self.cast(cells, like)
            if one is not None and other is not None:
                return one, other
        return None

    def blank(self, cells: Any, column: Any) -> Any:
        import polars as pl

        return pl.Series(cells.name, [None] * len(cells), column.dtype)

    def room(self, column: Any) -> Any:
        return column

    def text(self, cells: Any, like: Any) -> Any:
        import polars as pl

        first = like.drop_nulls().head(1).to_list()
        return pl.Series(cells.name, LISTS.text(_listed(cells), first), pl.String)

    def numbers(self, cells: Any) -> Any:
        import polars as pl

        found = LISTS.numbers(_listed(cells))
        try:
            return pl.Series(cells.name, found)
        except (OverflowError, pl.exceptions.PolarsError):  # beyond 64 bits
            return cells

    def decimals(self, cells: Any) -> Any:
        return cells

    def moments(self, cells: Any) -> Any:
        import polars as pl

        return cells.cast(pl.Datetime("us")) if cells.dtype == pl.Date else cells

    def microseconds(self, cells: Any) -> Any:
        return cells.dt.epoch("us")


SERIES = PolarsSeries()


def _listed(column: Any) -> list[Any]:
    """Return cells as Python's values, and None."""
    return [None if value != value else value for value in column.to_list()]


def _in_zone(cells: Any, zone: str | None) -> Any:
    """Convert date-times to a zone, or to none; those without one are UTC."""
    if cells.dtype.time_zone == zone:
        return cells
    if cells.dtype.time_zone is None:
        cells = cells.dt.replace_time_zone("UTC")
    zoned = cells.dt.convert_time_zone(zone or "UTC")
    return zoned if zone is not None else zoned.dt.replace_time_zone(None)
