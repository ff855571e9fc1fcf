"""Conversion of `pandas.DataFrame`s to columns and back; see `frames`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cascade_client.columns.pandas_columns import agreed, put
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
            if str(known.dtype).startswith(("datetime64", "timestamp[")):
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
        if like is None:
            return self._plain(columns, None)
        out = self._plain(columns, like.index if draws == 1 else like.index.repeat(draws))
        rows = None if draws == 1 else np.arange(len(like)).repeat(draws)
        made = []
        for name in out.columns:
            column = out[name]
            if name in like.columns:
                given = like[name] if rows is None else like[name].take(rows)
                given = given.set_axis(out.index)
                into = np.flatnonzero(given.isna())
                column = put(given, into, column.take(into))
            made.append(column)
        return self._framed(made, out, like)

    def fitted(self, columns: Sequence[Column], like: Any) -> Any:
        """Build a frame of columns with the index and the dtypes of another, if these can hold
        them.
        """
        out = self._plain(columns, like.index)
        made = [
            agreed(like[name], out[name])[1] if name in like.columns else out[name]
            for name in out.columns
        ]
        return self._framed(made, out, like)

    def _framed(self, made: Sequence[Any], out: Any, like: Any) -> Any:
        import pandas as pd

        frame = pd.concat(made, axis=1) if made else out
        frame.columns, frame.attrs = out.columns, dict(like.attrs)
        return frame

    def _plain(self, columns: Sequence[Column], index: Any) -> Any:
        """Build a frame of columns in the dtypes in which they came."""
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
        return pd.DataFrame(data, index=index)
