"""Columns of Arrow: any type, including dictionaries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_client.columns import agreeing
from cascade_client.columns.lists import LISTS
from cascade_client.columns.sorts import NUMBERS, Sort


def declared_of(type_: Any) -> Sort:
    """Return the sort that a type of Arrow's is for."""
    from pyarrow import types

    if types.is_dictionary(type_):
        return declared_of(type_.value_type)
    told = (
        (types.is_null, Sort.EMPTY),
        (types.is_boolean, Sort.BOOLEAN),
        (types.is_integer, Sort.WHOLE),
        (types.is_floating, Sort.REAL),
        (types.is_decimal, Sort.DECIMAL),
        (types.is_timestamp, Sort.MOMENT),
        (types.is_date, Sort.DATE),
        (types.is_string, Sort.TEXT),
        (types.is_large_string, Sort.TEXT),
        (types.is_string_view, Sort.TEXT),
    )
    return next((sort for is_one, sort in told if is_one(type_)), Sort.OTHER)


def agreed(column: Any, cells: Any) -> tuple[Any, Any]:
    """Convert two ChunkedArrays to one type, as `agreeing.agreed` does."""
    from pyarrow import types

    if types.is_dictionary(cells.type):
        cells = cells.cast(cells.type.value_type)
    wanted = column.type
    if not types.is_dictionary(wanted):
        return agreeing.agreed(CHUNKED, column, cells)
    both = agreeing.agreed(CHUNKED, column.cast(wanted.value_type), cells)
    if both[0].type != wanted.value_type:
        return both
    # Chunks of a column may have different dictionaries, which `joined` unifies.
    return column, both[1].dictionary_encode().cast(wanted)


def put(column: Any, into: Any, cells: Any) -> Any:
    """Replace some of a column's cells.

    Args:
        column: a ChunkedArray.
        into: positions in it, as many as there are cells.
        cells: a ChunkedArray.
    """
    if not len(into):
        return column
    rows = np.arange(len(column))
    rows[into] = len(column) + np.arange(len(cells))
    return joined(*agreed(column, cells)).take(rows)


def joined(column: Any, cells: Any) -> Any:
    """Concatenate two columns of one type."""
    import pyarrow as pa

    both = pa.chunked_array([*column.chunks, *cells.chunks], column.type)
    if not pa.types.is_dictionary(column.type):
        return both
    try:
        return both.unify_dictionaries()
    except pa.ArrowException:  # a dictionary with a null in it, or too many values for its indices
        values = both.cast(column.type.value_type)
    try:
        return values.dictionary_encode().cast(column.type)
    except pa.ArrowException:
        return values


def empty(column: Any) -> NDArray[np.bool_]:
    """Return which cells of a ChunkedArray have no value: nulls, and NaN."""
    from pyarrow import types

    if types.is_dictionary(column.type):  # whose values may be such
        column = column.cast(column.type.value_type)
    return np.asarray(column.is_null(nan_is_null=True).to_numpy())


class ChunkedArrays:
    """`agreeing.Columns` for columns that are no dictionaries."""

    def sort(self, column: Any) -> Sort:
        return Sort.EMPTY if empty(column).all() else self.declared(column)

    def declared(self, column: Any) -> Sort:
        return declared_of(column.type)

    def cast(self, cells: Any, column: Any) -> Any | None:
        import pyarrow as pa

        come, declared = self.declared(cells), self.declared(column)
        # Arrow would convert a whole number to a moment, and a moment to its date.
        if come is not declared and not {come, declared} <= NUMBERS:
            return None
        try:
            cast = cells.cast(column.type)
            # Compared without the zone, which does not change the moment.
            return cast if cast.cast(cells.type).equals(cells) else None
        except pa.ArrowException:
            return None

    def common(self, column: Any, cells: Any) -> tuple[Any, Any] | None:
        import pyarrow as pa

        declared = self.declared(column)
        types = [column.type, cells.type]
        if declared is Sort.MOMENT:
            types = [pa.timestamp(unit, column.type.tz) for unit in ("us", "ns")]
        if declared in NUMBERS:
            types += [pa.int64(), pa.float64()]
        for type_ in types:
            like = pa.chunked_array([], type_)
            one, other = self.cast(column, like), self.cast(cells, like)
            if one is not None and other is not None:
                return one, other
        return None

    def blank(self, cells: Any, column: Any) -> Any:
        import pyarrow as pa

        return pa.chunked_array([pa.nulls(len(cells), column.type)])

    def room(self, column: Any) -> Any:
        return column

    def text(self, cells: Any, like: Any) -> Any:
        first = like.drop_null().slice(0, 1).to_pylist()
        return _array(LISTS.text(_listed(cells), first))

    def numbers(self, cells: Any) -> Any:
        import pyarrow as pa

        try:
            return _array(LISTS.numbers(_listed(cells)))
        except (OverflowError, pa.ArrowException):  # beyond 64 bits
            return cells

    def decimals(self, cells: Any) -> Any:
        return cells

    def moments(self, cells: Any) -> Any:
        import pyarrow as pa

        return cells.cast(pa.timestamp("us")) if pa.types.is_date(cells.type) else cells

    def microseconds(self, cells: Any) -> Any:
        import pyarrow as pa

        return cells.cast(pa.timestamp("us", cells.type.tz), safe=False).cast(pa.int64())


CHUNKED = ChunkedArrays()


def _listed(column: Any) -> list[Any]:
    """Return cells as Python's values, and None; date-times in microseconds, as in Python."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return [None if value != value else value for value in column.to_pylist()]


def _array(values: list[Any]) -> Any:
    import pyarrow as pa

    return pa.chunked_array([pa.array(values)])
