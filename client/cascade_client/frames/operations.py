"""Frames of every kind by what completing and augmenting need of them: which cells are empty, some
rows, cells put in place, rows put after others. Dtypes stay where they hold what comes, and widen
where they do not; what is not touched keeps every bit.

No package of frames is imported here but by who has one in hand, as in `messages.frames`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from cascade_proto.cells import OBSERVED_STATE
from numpy.typing import NDArray

from cascade_client.messages.cells import Cells, Column, of_rows
from cascade_client.messages.frames import ARROW, PANDAS, POLARS

Places = NDArray[np.intp]


class Source(NamedTuple):
    """Where cells of a column come from, and where they go: rows of the one and of the other."""

    into: Places
    out_of: Places


class Operations(Protocol):
    """What is done with one kind of frame. None of it changes the frame that is given."""

    def names(self, frame: Any) -> list[Any]:
        """Its columns' names, in order."""

    def count(self, frame: Any) -> int:
        """How many rows a frame has."""

    def cells(self, frame: Any, name: str) -> Cells:
        """A column as it travels.

        Raises:
            InvalidRequest: a value has no place in a table.
        """

    def empty(self, frame: Any, name: str) -> NDArray[np.bool_]:
        """Which cells of a column have no value; for which no cell is made a value of Python's."""

    def take(self, frame: Any, rows: Places, names: Sequence[str] | None = None) -> Any:
        """Some rows, in the order in which they are named, of all columns or of some."""

    def filled(self, frame: Any, cells: Any, sources: Mapping[str, Source]) -> Any:
        """The frame with cells of another put into it; a column that it has not comes after all
        others, and is to be given whole."""

    def made(self, columns: Sequence[Column], like: Any) -> Any:
        """A frame of columns, with the dtypes and the labels of rows of another; None: of none."""

    def bare(self, frame: Any, rows: Places) -> Any:
        """What `made` takes labels of rows from, and nothing else."""

    def extended(self, frame: Any, more: Any) -> Any:
        """The frame, and after its rows those of another with some of its columns; the cells of the
        other columns are empty there."""


def without_value(cells: Cells) -> NDArray[np.bool_]:
    """Which cells of a column have no value."""
    return np.frombuffer(cells.states, np.uint8) != OBSERVED_STATE


class Rows:
    """Lists of dicts. A key that is left out is an empty cell."""

    def names(self, frame: Any) -> list[Any]:
        return list(dict.fromkeys(name for row in frame for name in row))

    def count(self, frame: Any) -> int:
        return len(frame)

    def cells(self, frame: Any, name: str) -> Cells:
        (column,) = of_rows([{name: row.get(name)} for row in frame])
        return column

    def empty(self, frame: Any, name: str) -> NDArray[np.bool_]:
        return without_value(self.cells(frame, name))

    def take(self, frame: Any, rows: Places, names: Sequence[str] | None = None) -> Any:
        if names is None:
            return [dict(frame[row]) for row in rows]
        return [{name: frame[row][name] for name in names if name in frame[row]} for row in rows]

    def filled(self, frame: Any, cells: Any, sources: Mapping[str, Source]) -> Any:
        out = [dict(row) for row in frame]
        for name, source in sources.items():
            for into, out_of in zip(source.into, source.out_of, strict=True):
                out[into][name] = cells[out_of][name]
        return out

    def made(self, columns: Sequence[Column], like: Any) -> Any:
        names = [name for name, _, _ in columns]
        lists = [
            [None if null else value for value, null in zip(values.tolist(), nulls, strict=True)]
            for _, values, nulls in columns
        ]
        return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]

    def bare(self, frame: Any, rows: Places) -> Any:
        return None

    def extended(self, frame: Any, more: Any) -> Any:
        names = self.names(frame)
        return [*frame, *({name: row.get(name) for name in names} for row in more)]


class Pandas:
    """`pandas.DataFrame`s. Columns that no table has may have any name, also twice."""

    def names(self, frame: Any) -> list[Any]:
        return list(frame.columns)

    def count(self, frame: Any) -> int:
        return len(frame)

    def cells(self, frame: Any, name: str) -> Cells:
        (column,) = PANDAS.read(frame[[name]])
        return column

    def empty(self, frame: Any, name: str) -> NDArray[np.bool_]:
        return np.asarray(frame[name].isna().to_numpy(dtype=bool))

    def take(self, frame: Any, rows: Places, names: Sequence[str] | None = None) -> Any:
        return (frame if names is None else frame[list(names)]).take(rows)

    def filled(self, frame: Any, cells: Any, sources: Mapping[str, Source]) -> Any:
        out = frame.copy(deep=False)
        for name, source in sources.items():
            new = cells[name].take(source.out_of)
            if name not in out.columns:
                out[name] = new.array
                continue
            place = out.columns.get_loc(name)
            out.isetitem(place, self._put(out.iloc[:, place], source.into, new))
        return out

    def _put(self, column: Any, into: Places, new: Any) -> Any:
        """A column with new cells in some of its rows."""
        if hasattr(column, "sparse"):
            column = column.sparse.to_dense()
        if new.dtype != column.dtype:
            column = self._wide(column, new)
            if new.dtype != column.dtype:
                new = new.astype(column.dtype)
        values = column.array.copy()
        values[into] = new.array
        return type(column)(values, column.index, name=column.name)

    def _wide(self, column: Any, new: Any) -> Any:
        """A column in a dtype that holds what it has and what comes."""
        if not isinstance(column.dtype, np.dtype) or column.dtype.kind != "O":
            try:
                wide = column.astype(new.dtype)
                known = column.notna()
                one, other = (each[known].astype(object) for each in (wide, column))
                if wide[known].notna().all() and (one == other).all():
                    return wide
            except (TypeError, ValueError):
                pass
            if column.dtype.kind in "iuf" and new.dtype.kind in "iuf":
                float64 = isinstance(column.dtype, np.dtype) and isinstance(new.dtype, np.dtype)
                return column.astype("float64" if float64 else "Float64")
        return column.astype(object)

    def made(self, columns: Sequence[Column], like: Any) -> Any:
        return PANDAS.make(columns, like, 1)

    def bare(self, frame: Any, rows: Places) -> Any:
        return frame[[]].take(rows)

    def extended(self, frame: Any, more: Any) -> Any:
        import pandas as pd

        index, columns = self._longer(frame.index, len(more)), []
        for place, name in enumerate(frame.columns):
            column = frame.iloc[:, place]
            if name in more.columns:
                new = more[name]
                if new.dtype != column.dtype:
                    new = PANDAS.cast_like(new, column.dtype, column)
                if new.dtype != column.dtype:
                    column = self._wide(column, new)
                    new = new.astype(column.dtype)
            else:
                column = self._with_room(column)
                new = pd.Series([None] * len(more), dtype=column.dtype)
            both = type(column.array)._concat_same_type([column.array, new.array])
            columns.append(pd.Series(both, index))
        out = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=index)
        out.columns = frame.columns
        return out

    def _with_room(self, column: Any) -> Any:
        """A column in a dtype in which cells may be empty: whole numbers stay whole."""
        if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iub":
            return column.convert_dtypes(convert_string=False, convert_floating=False)
        return column

    def _longer(self, index: Any, more: int) -> Any:
        """Labels for further rows: numbers go on where they end; others, which nobody can make up,
        are missing there."""
        import pandas as pd

        if isinstance(index, pd.RangeIndex):
            stop = index.start + index.step * (len(index) + more)
            return pd.RangeIndex(index.start, stop, index.step, name=index.name)
        if pd.api.types.is_integer_dtype(index.dtype):
            first = int(index.max()) + 1 if len(index) else 0
            return index.append(pd.Index(range(first, first + more), name=index.name))
        return index.take(np.r_[np.arange(len(index)), np.full(more, -1)], fill_value=pd.NA)


class Arrow:
    """`pyarrow.Table`s, and what becomes one: a RecordBatch, any stream of Arrow's C interface."""

    def names(self, frame: Any) -> list[Any]:
        return list(frame.column_names)

    def count(self, frame: Any) -> int:
        return int(frame.num_rows)

    def cells(self, frame: Any, name: str) -> Cells:
        (column,) = ARROW.read(frame.select([name]))
        return column

    def empty(self, frame: Any, name: str) -> NDArray[np.bool_]:
        return np.asarray(frame[name].is_null(nan_is_null=True).to_numpy())

    def take(self, frame: Any, rows: Places, names: Sequence[str] | None = None) -> Any:
        return (frame if names is None else frame.select(list(names))).take(rows)

    def filled(self, frame: Any, cells: Any, sources: Mapping[str, Source]) -> Any:
        for name, source in sources.items():
            new = cells[name].take(source.out_of)
            if name not in frame.column_names:
                frame = frame.append_column(name, new)
                continue
            place = frame.column_names.index(name)
            both = self._joined(frame[name], new)
            rows = np.arange(frame.num_rows)
            rows[source.into] = frame.num_rows + np.arange(len(new))
            frame = frame.set_column(place, name, both.take(rows))
        return frame

    def _joined(self, column: Any, new: Any) -> Any:
        """One column after another, in a type that holds both."""
        import pyarrow as pa

        if column.type != new.type:
            try:
                new = ARROW.cast_like(new, column.type, pa)
            except pa.ArrowException:
                try:
                    column = column.cast(new.type)
                except pa.ArrowException:
                    column, new = column.cast(pa.string()), new.cast(pa.string())
        # Of dictionaries, whose parts have values of their own, one is made.
        both = pa.chunked_array([*column.chunks, *new.chunks], column.type)
        return both.unify_dictionaries() if pa.types.is_dictionary(column.type) else both

    def made(self, columns: Sequence[Column], like: Any) -> Any:
        return ARROW.make(columns, like, 1)

    def bare(self, frame: Any, rows: Places) -> Any:
        return None

    def extended(self, frame: Any, more: Any) -> Any:
        import pyarrow as pa

        columns = {}
        for name in frame.column_names:
            missing = pa.chunked_array([pa.nulls(more.num_rows, frame[name].type)])
            new = more[name] if name in more.column_names else missing
            columns[name] = self._joined(frame[name], new)
        return pa.table(columns)


class Polars:
    """`polars.DataFrame`s."""

    def names(self, frame: Any) -> list[Any]:
        return list(frame.columns)

    def count(self, frame: Any) -> int:
        return int(frame.height)

    def cells(self, frame: Any, name: str) -> Cells:
        (column,) = POLARS.read(frame.select([name]))
        return column

    def empty(self, frame: Any, name: str) -> NDArray[np.bool_]:
        column = frame[name]
        null = column.is_null()
        if column.dtype.is_float():
            null |= column.is_nan().fill_null(True)
        return np.asarray(null.to_numpy())

    def take(self, frame: Any, rows: Places, names: Sequence[str] | None = None) -> Any:
        return (frame if names is None else frame.select(list(names)))[rows]

    def filled(self, frame: Any, cells: Any, sources: Mapping[str, Source]) -> Any:
        made = []
        for name, source in sources.items():
            new = cells[name].gather(source.out_of)
            if name not in frame.columns:
                made.append(new)
                continue
            both = self._joined(frame[name], new)
            rows = np.arange(frame.height)
            rows[source.into] = frame.height + np.arange(len(new))
            made.append(both.gather(rows))
        return frame.with_columns(made)

    def _joined(self, column: Any, new: Any) -> Any:
        import polars as pl

        if new.dtype != column.dtype:
            new = POLARS.cast_like(new, column.dtype, pl)
        try:
            both = pl.concat([column.to_frame(), new.to_frame()], how="vertical_relaxed")
        except pl.exceptions.PolarsError:
            both = pl.concat([each.cast(pl.String).to_frame() for each in (column, new)])
        return both.to_series()

    def made(self, columns: Sequence[Column], like: Any) -> Any:
        return POLARS.make(columns, like, 1)

    def bare(self, frame: Any, rows: Places) -> Any:
        return None

    def extended(self, frame: Any, more: Any) -> Any:
        import polars as pl

        columns = []
        for name in frame.columns:
            missing = pl.Series(name, [None] * more.height, frame[name].dtype)
            new = more[name] if name in more.columns else missing
            columns.append(self._joined(frame[name], new))
        return pl.DataFrame(columns)


ROWS, TABLES, FRAMES, POLARS_FRAMES = Rows(), Arrow(), Pandas(), Polars()
