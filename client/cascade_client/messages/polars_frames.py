"""`polars.DataFrame`s, taken apart and made again; as `frames` says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

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
        try:
            import polars as pl
        except ImportError as exc:
            raise MissingDependency(
                "polars is not installed; pip install polars, or ask for kind='rows'"
            ) from exc
        made = []
        for name, values, null in columns:
            cells = pl.Series(name, values.tolist() if values.dtype == object else values)
            if null.any():
                cells = cells.to_frame().select(
                    pl.when(pl.Series(~null)).then(pl.col(name)).alias(name)
                )[name]
            wanted = like.schema.get(name) if like is not None else None
            made.append(
                cells if wanted in (None, cells.dtype) else self.cast_like(cells, wanted, pl)
            )
        return pl.DataFrame(made)

    def cast_like(self, cells: Any, wanted: Any, pl: Any) -> Any:
        """A column in the type of the caller's, where that holds all of it."""
        try:
            if isinstance(wanted, pl.Datetime) and wanted.time_zone is not None:
                zoned = cells.dt.replace_time_zone("UTC").dt.convert_time_zone(wanted.time_zone)
                return zoned.cast(wanted)
            cast = cells.cast(wanted)
            return cast if (cast.cast(cells.dtype) == cells).all() else cells
        except pl.exceptions.PolarsError:
            return cells
