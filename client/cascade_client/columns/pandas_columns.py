"""Columns of pandas: any dtype, including extensions and categories."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np

from cascade_client.columns import agreeing, arrow_columns, lists, sorts
from cascade_client.columns.lists import LISTS
from cascade_client.columns.sorts import NUMBERS, Sort
from cascade_client.values.date_times import to_microseconds

# Exceptions of pandas and Arrow for values that a dtype cannot hold.
DOES_NOT_HOLD = (TypeError, ValueError, OverflowError, ArithmeticError, NotImplementedError)
DECLARED = {
    "b": Sort.BOOLEAN,
    "i": Sort.WHOLE,
    "u": Sort.WHOLE,
    "f": Sort.REAL,
    "M": Sort.MOMENT,
}


def agreed(column: Any, cells: Any) -> tuple[Any, Any]:
    """Convert two Series to one type, as `agreeing.agreed` does."""
    import pandas as pd

    if isinstance(cells.dtype, pd.CategoricalDtype):
        cells = cells.astype(object).infer_objects()
    if isinstance(column.dtype, pd.SparseDtype) and cells.notna().any():
        column = column.sparse.to_dense()
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _agreed_categories(column, cells)
    if _has_objects(column):
        return _agreed_objects(column, cells)
    return agreeing.agreed(SERIES, column, cells)


def put(column: Any, into: Any, cells: Any) -> Any:
    """Replace some of a column's cells; its index and its name stay.

    Args:
        column: a Series.
        into: positions in it, as many as there are cells.
        cells: a Series, whose index is ignored.
    """
    if not cells.notna().any():
        return column.copy()  # Whatever stands for no value stays what it was.
    wide, fitted = agreed(column, cells)
    is_whole = len(into) == len(column) and wide.dtype != column.dtype
    if is_whole and wide.dtype == SERIES.room(cells).dtype:
        wide = fitted = cells  # No cell is left for which there would have to be room.
    values = wide.array.copy()
    values[into] = fitted.array
    return type(column)(values, column.index, dtype=wide.dtype, name=column.name)


class PandasSeries:
    """`agreeing.Columns` for columns that are neither categories nor objects, and cells that may be
    objects.
    """

    def sort(self, column: Any) -> Sort:
        known = column[column.notna()]
        if not len(known):
            return Sort.EMPTY
        return sorts.sort_of(known) if _has_objects(column) else self.declared(column)

    def declared(self, column: Any) -> Sort:
        import pandas as pd

        dtype = column.dtype
        if isinstance(dtype, pd.ArrowDtype):
            return arrow_columns.declared_of(dtype.pyarrow_dtype)
        if isinstance(dtype, pd.StringDtype):
            return Sort.TEXT
        return DECLARED.get(dtype.kind, Sort.OTHER)

    def cast(self, cells: Any, column: Any) -> Any | None:
        come, declared = self.sort(cells), self.declared(column)
        # Pandas would convert text and whole numbers to moments.
        if come is not declared and not {come, declared} <= NUMBERS and not _has_objects(column):
            return None
        try:
            if (zone := _zone_of(column)) is not None:
                cells = _in_zone(cells, zone)
            if cells.dtype == column.dtype:
                return cells
            with np.errstate(over="ignore"):  # infinite is not what it was
                cast = cells.astype(column.dtype)
            return cast if _same(cast, cells) else None
        except DOES_NOT_HOLD:
            return None

    def common(self, column: Any, cells: Any) -> tuple[Any, Any] | None:
        import pandas as pd

        if (zone := _zone_of(column)) is not None and self.sort(cells) is Sort.MOMENT:
            cells = _in_zone(cells, zone)
        is_numpy = isinstance(column.dtype, np.dtype) and isinstance(cells.dtype, np.dtype)
        numbers = ["Int64", "float64" if is_numpy else "Float64"]
        are_numbers = self.sort(column) in NUMBERS
        for dtype in [column.dtype, cells.dtype, *(numbers if are_numbers else ())]:
            like = pd.Series([], dtype=dtype)
            one, other = self.cast(column, like), self.cast(cells, like)
            if one is not None and other is not None and not (are_numbers and _has_objects(one)):
                return one, other
        return None

    def blank(self, cells: Any, column: Any) -> Any:
        import pandas as pd

        return pd.Series([None] * len(cells), cells.index, dtype=column.dtype)

    def room(self, column: Any) -> Any:
        import pandas as pd

        dtype = column.dtype
        if isinstance(dtype, pd.SparseDtype) and dtype.subtype.kind in "iub":
            return self.room(column.sparse.to_dense())
        if isinstance(dtype, pd.IntervalDtype) and getattr(dtype.subtype, "kind", "f") in "iu":
            return column.astype(pd.IntervalDtype("float64", dtype.closed))
        if isinstance(dtype, np.dtype) and dtype.kind in "iub":
            return column.convert_dtypes(convert_string=False, convert_floating=False)
        return column

    def text(self, cells: Any, like: Any) -> Any:
        first = _listed(like[like.notna()].head(1))
        return _objects_of(LISTS.text(_listed(cells), first), cells.index)

    def numbers(self, cells: Any) -> Any:
        import pandas as pd

        found = LISTS.numbers(_listed(cells))
        if (sort := LISTS.sort(found)) is Sort.TEXT:
            return cells
        try:
            return pd.Series(found, cells.index, "Int64" if sort is Sort.WHOLE else "Float64")
        except OverflowError:
            return cells

    def decimals(self, cells: Any) -> Any:
        return cells

    def moments(self, cells: Any) -> Any:
        import pandas as pd

        if self.sort(cells) is not Sort.DATE:
            return cells
        import pyarrow as pa

        return cells.astype(pd.ArrowDtype(pa.timestamp("us")))

    def microseconds(self, cells: Any) -> Any:
        import pandas as pd

        values = _in_zone(cells, "UTC").dt.tz_localize(None).to_numpy("datetime64[us]")
        empty = cells.isna().to_numpy(dtype=bool)
        return pd.Series(pd.arrays.IntegerArray(values.astype("int64"), empty), cells.index)


SERIES = PandasSeries()


def _agreed_objects(column: Any, cells: Any) -> tuple[Any, Any]:
    """Convert a column of Python objects. Date-times get a dtype of their own."""
    import pandas as pd

    given, drawn = _listed(column), _listed(cells)
    one, other = lists.agreed(given, drawn)
    if Sort.MOMENT in {LISTS.sort(one), LISTS.sort(other)} <= {Sort.MOMENT, Sort.EMPTY}:
        moments = _moments_of([*one, *other])
        one, other = moments.iloc[: len(one)].array, moments.iloc[len(one) :].array
        return pd.Series(one, column.index), pd.Series(other, cells.index)
    if {LISTS.sort(one), LISTS.sort(other)} == {Sort.WHOLE, Sort.REAL} and not _are_real(one):
        one, other = LISTS.text(one, one), LISTS.text(other, one)
    column = column if one is given else _objects_of(one, column.index)
    return column, _objects_of(other, cells.index)


def _agreed_categories(column: Any, cells: Any) -> tuple[Any, Any]:
    """Convert a column of categories, and add those that the cells have."""
    import pandas as pd

    known, cells = agreed(column.dtype.categories.to_series(), cells)
    more = cells[cells.notna() & ~cells.isin(known)].drop_duplicates()
    parts = [part for part in (known, more) if len(part)]
    categories = pd.Index(pd.concat(parts) if parts else known)
    dtype = pd.CategoricalDtype(categories, column.dtype.ordered)
    wide = pd.Categorical.from_codes(column.cat.codes, dtype=dtype)
    return pd.Series(wide, column.index), cells.astype(dtype)


def _are_real(values: list[Any]) -> bool:
    """Return whether numbers are unchanged as floats."""
    return all(value is None or float(value) == value for value in values)


def _moments_of(values: list[Any]) -> Any:
    """Return Python's date-times, and None, as a Series: in their zone, or in UTC if they have
    several.
    """
    import pandas as pd

    zones = {value.tzinfo for value in values if value is not None}
    try:
        moments = pd.Series(pd.to_datetime(values, utc=zones != {None}))
    except pd.errors.OutOfBoundsDatetime:  # pandas takes nanoseconds, which end in 2262
        micros = ["NaT" if value is None else to_microseconds(value) for value in values]
        moments = pd.Series(np.array([np.datetime64(value, "us") for value in micros]))
        moments = moments if zones == {None} else moments.dt.tz_localize("UTC")
    (zone, *others) = zones
    return moments.dt.tz_convert(zone) if zone is not None and not others else moments


def _objects_of(values: list[Any], index: Any) -> Any:
    import pandas as pd

    out = np.empty(len(values), object)
    out[:] = values
    return pd.Series(out, index, dtype=object)


def _listed(column: Any) -> list[Any]:
    """Return cells as Python's values, and None."""
    pairs = zip(column.tolist(), column.isna().tolist(), strict=True)
    return [None if empty else value for value, empty in pairs]


def _has_objects(column: Any) -> bool:
    return isinstance(column.dtype, np.dtype) and column.dtype.kind == "O"


def _zone_of(column: Any) -> Any | None:
    import pandas as pd

    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return column.dtype.tz
    if isinstance(column.dtype, pd.ArrowDtype):
        return getattr(column.dtype.pyarrow_dtype, "tz", None)
    return None


def _in_zone(cells: Any, zone: Any) -> Any:
    """Convert date-times to a zone; those without one are UTC."""
    if _has_objects(cells):
        cells = _moments_of(_listed(cells)).set_axis(cells.index)
    zoned = cells if cells.dt.tz is not None else cells.dt.tz_localize("UTC")
    return zoned.dt.tz_convert(zone)


def _same(cast: Any, cells: Any) -> bool:
    """Return whether a conversion left all cells unchanged."""
    empty = cells.isna()
    if not cast.isna().equals(empty):
        return False
    one, other = (each[~empty].astype(object) for each in (cast, cells))
    if Sort.DECIMAL in {SERIES.sort(cast), SERIES.sort(cells)}:
        # Compare a float as it is written: 0.1 is a tenth.
        one, other = (each.map(lambda value: Decimal(str(value))) for each in (one, other))
    return bool((one == other).all())
