"""Conversion of `polars.DataFrame`s to columns and back; see `frames`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_client.columns import polars_columns
from cascade_client.errors import MissingDependency
from cascade_client.messages.cells import Cells, Column, with_holes


class Polars:
    """`polars.DataFrame`s; types, categories and time zones are kept."""

    def count(self, frame: Any) -> int:
        return int(frame.height)

    def part(self, frame: Any, begin: int, end: int) -> Any:
        return frame.slice(begin, end - begin)

    def read(self, frame: Any) -> tuple[Cells, ...]:
        columns = []
        for series in frame.get_columns():
            values = series.to_list()
            empty = np.array([value is None or value != value for value in values], np.bool_)
            known = [value for value, hole in zip(values, empty.tolist(), strict=True) if not hole]
            columns.append(with_holes(series.name, known, empty))
        return tuple(columns)

    def labels(self, _frame: Any, _rows: Sequence[int]) -> list[Any] | None:
        return None

    def make(self, columns: Sequence[Column], like: Any, draws: int) -> Any:
        rows = None if draws == 1 or like is None else np.arange(like.height).repeat(draws)

        def put_into(given: Any, cells: Any) -> Any:
            given = given if rows is None else given.gather(rows)
            into = np.flatnonzero(empty(given))
            return polars_columns.put(given, into, cells.gather(into))

        return self._made(columns, like, put_into)

    def fitted(self, columns: Sequence[Column], like: Any) -> Any:
        """Build a frame of columns in the types of another, if these can hold them."""
        return self._made(columns, like, lambda own, cells: polars_columns.agreed(own, cells)[1])

    def _made(
        self, columns: Sequence[Column], like: Any, put_into: Callable[[Any, Any], Any]
    ) -> Any:
        try:
            import polars as pl
        except ImportError as exc:
            raise MissingDependency(
                "polars is not installed; pip install polars, or ask for kind='rows'"
            ) from exc
        made, own = [], frozenset() if like is None else frozenset(like.columns)
        for name, values, null in columns:
            cells = pl.Series(name, values.tolist() if values.dtype == object else values)
            if null.any():
                cells = cells.to_frame().select(
                    pl.when(pl.Series(~null)).then(pl.col(name)).alias(name)
                )[name]
            if name in own:
                cells = put_into(like[name], cells)
            made.append(cells)
        return pl.DataFrame(made)


def empty(column: Any) -> NDArray[np.bool_]:
    """Return which cells of a column have no value: nulls, and NaN."""
    null = column.is_null()
    if column.dtype.is_float():
        null |= column.is_nan().fill_null(True)
    return np.asarray(null.to_numpy())
