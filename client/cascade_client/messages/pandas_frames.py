"""`pandas.DataFrame`s, taken apart and made again; as `frames` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cascade_client.errors import MissingDependency
from cascade_client.messages.cells import Cells, Column, with_holes


class Pandas:
    """`pandas.DataFrame`s: index, extension dtypes, categories and time zones are kept."""

    def count(self, frame: Any) -> int:
        return len(frame)

    def part(self, frame: Any, begin: int, end: int) -> Any:
        return frame.iloc[begin:end]

    def read(self, frame: Any) -> tuple[Cells, ...]:
        columns = []
        for position, name in enumerate(frame.columns):
            series = frame.iloc[:, position]
            empty = series.isna().to_numpy(dtype=bool)
            known = series[~empty]
            if str(known.dtype).startswith("datetime64"):
                # Not tolist: its Timestamps keep nanoseconds, which the wire does not have.
                if known.dt.tz is not None:
                    known = known.dt.tz_convert("UTC").dt.tz_localize(None)
                values = known.to_numpy(dtype="datetime64[us]").tolist()
            else:
                values = known.tolist()
            columns.append(with_holes(name, values, empty))
        return tuple(columns)

    def labels(self, frame: Any, rows: Sequence[int]) -> list[Any] | None:
        return [frame.index[row] for row in rows]

    def make(self, columns: Sequence[Column], like: Any, draws: int) -> Any:
        try:
            import pandas as pd
        except ImportError as exc:
            raise MissingDependency(
                "pandas is not installed; pip install pandas, or ask for kind='rows'"
            ) from exc
        holed: Mapping[str, Callable[[Any, Any], Any]] = {
            "i": lambda values, null: pd.arrays.IntegerArray(values, null),
            "u": lambda values, null: pd.arrays.IntegerArray(values, null),
            "b": lambda values, null: pd.arrays.BooleanArray(values, null),
            "f": lambda values, null: np.where(null, np.nan, values),
            "M": lambda values, null: np.where(null, np.datetime64("NaT", "us"), values),
            "O": lambda values, null: np.where(null, None, values),
        }
        data = {
            name: holed[values.dtype.kind](values, null) if null.any() else values
            for name, values, null in columns
        }
        index = None
        if like is not None:
            index = like.index if draws == 1 else like.index.repeat(draws)
        out = pd.DataFrame(data, index=index)
        if like is None:
            return out
        for name in out.columns.intersection(like.columns):
            dtype = like[name].dtype
            if out[name].dtype != dtype:
                out[name] = self.cast_like(out[name], dtype, like[name])
        return out

    def cast_like(self, series: Any, dtype: Any, source: Any) -> Any:
        """A column with the dtype of the caller's, where that holds all of it."""
        import pandas as pd

        empty = series.isna()
        try:
            if isinstance(dtype, pd.CategoricalDtype):
                known = {str(category): category for category in dtype.categories}
                cells = [known.get(str(value), value) for value in series[~empty]]
                more = [cell for cell in dict.fromkeys(cells) if cell not in dtype.categories]
                wider = pd.CategoricalDtype([*dtype.categories, *more], dtype.ordered)
                out = pd.Series(None, series.index, wider if more else dtype)
                out.array[~empty.to_numpy()] = cells
                return out
            if isinstance(dtype, pd.DatetimeTZDtype):
                return series.dt.tz_localize("UTC").dt.tz_convert(dtype.tz).astype(dtype)
            if dtype.kind == "O" and isinstance(dtype, np.dtype):
                return self._as_objects(series, source)
            cast = series.astype(dtype)
        except (TypeError, ValueError, OverflowError, ArithmeticError):
            return series
        if not cast.isna().equals(empty):
            return series
        one, other = (each[~empty].astype(object) for each in (cast, series))
        if series.dtype.kind == "O" and dtype.kind != "O":  # categories, which travel as text
            one, other = one.map(str), other.map(str)
        return cast if (one == other).all() else series

    def _as_objects(self, series: Any, source: Any) -> Any:
        """Python's own values, as in a column of objects; text stays as it is."""
        kinds = {type(value) for value in source[~source.isna()]}
        if kinds <= {str}:
            return series.astype(object).where(series.notna(), None)
        return series
