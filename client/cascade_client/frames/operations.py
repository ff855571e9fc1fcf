"""Frame operations that completion and augmentation need, for every kind of frame.

They find empty cells, select rows, replace cells and append rows. Dtypes stay if they can hold the
new values, and widen otherwise; untouched cells keep every bit.

As in `messages.frames`, a package of frames is imported only once a caller passes such a frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from cascade_proto.cells import OBSERVED_STATE
from numpy.typing import NDArray

from cascade_client.columns import arrow_columns, lists, pandas_columns, polars_columns
from cascade_client.messages.arrow_frames import table_of
from cascade_client.messages.cells import Cells, Column, of_rows
from cascade_client.messages.frames import ARROW, PANDAS, POLARS, Bare
from cascade_client.messages.polars_frames import empty

Places = NDArray[np.intp]


class Source(NamedTuple):
    """Source and target rows of the cells of a column."""

    into: Places
    out_of: Places


class Operations(Protocol):
    """Operations on one kind of frame. None of them changes the given frame."""

    def names(self, frame: Any) -> list[Any]:
        """Return its columns' names, in order."""

    def count(self, frame: Any) -> int:
        """Return a frame's number of rows."""

    def cells(self, frame: Any, name: str) -> Cells:
        """Return a column in the form for the wire.

        Raises:
            InvalidRequest: a value cannot be stored in a table.
        """

    def empty(self, frame: Any, name: str) -> NDArray[np.bool_]:
        """Return which cells of a column have no value, without making Python values."""

    def take(self, frame: Any, rows: Places, names: Sequence[str] | None = None) -> Any:
        """Return some rows in the given order, with all columns or some.

        With no columns the result is `Bare`, because such a frame would lose its rows.
        """

    def filled(self, frame: Any, cells: Any, sources: Mapping[str, Source]) -> Any:
        """Return the frame with cells of another put into it.

        A column that the frame lacks is appended, and must have a cell for every row.
        """

    def made(self, columns: Sequence[Column], like: Any) -> Any:
        """Build a frame of columns, with the dtypes and row labels of another frame, if one is
        given.
        """

    def bare(self, frame: Any, rows: Places) -> Any:
        """Return only the row labels that `made` needs from a frame."""

    def extended(self, frame: Any, more: Any) -> Any:
        """Append the rows of another frame that may have only some of the columns; other cells are
        empty.
        """


def without_value(cells: Cells) -> NDArray[np.bool_]:
    """Return which cells of a column have no value."""
    return np.frombuffer(cells.states, np.uint8) != OBSERVED_STATE


class Rows:
    """Operations on lists of dicts. A missing key is an empty cell."""

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
            places = set(source.into.tolist())
            known = np.flatnonzero(~self.empty(out, name)).tolist()
            kept = [out[index] for index in known if index not in places]
            given, drawn = lists.agreed(
                [row[name] for row in kept], [cells[index][name] for index in source.out_of]
            )
            filled = [out[index] for index in source.into]
            for row, value in zip([*kept, *filled], [*given, *drawn], strict=True):
                row[name] = value
        return out

    def made(self, columns: Sequence[Column], like: Any) -> Any:
        names = [name for name, _, _ in columns]
        cells = [
            [None if null else value for value, null in zip(values.tolist(), nulls, strict=True)]
            for _, values, nulls in columns
        ]
        return [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]

    def bare(self, frame: Any, rows: Places) -> Any:
        return None

    def extended(self, frame: Any, more: Any) -> Any:
        names = self.names(frame)
        return [*frame, *({name: row.get(name) for name in names} for row in more)]


class Pandas:
    """Operations on `pandas.DataFrame`s. Columns that no table has may have any name, and duplicate
    ones.
    """

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
            out.isetitem(place, pandas_columns.put(out.iloc[:, place], source.into, new))
        return out

    def made(self, columns: Sequence[Column], like: Any) -> Any:
        return PANDAS.fitted(columns, like)

    def bare(self, frame: Any, rows: Places) -> Any:
        return frame[[]].take(rows)

    def extended(self, frame: Any, more: Any) -> Any:
        import pandas as pd

        index, columns = self._longer(frame.index, len(more)), []
        for place, name in enumerate(frame.columns):
            column = frame.iloc[:, place]
            new = more[name] if name in more.columns else pd.Series([None] * len(more))
            column, new = pandas_columns.agreed(column, new)
            both = type(column.array)._concat_same_type([column.array, new.array])
            columns.append(pd.Series(both, index, dtype=column.dtype))
        out = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=index)
        out.columns, out.attrs = frame.columns, dict(frame.attrs)
        return out

    def _longer(self, index: Any, more: int) -> Any:
        """Extend an index by labels for further rows.

        Numbers continue where they end; other labels cannot be invented, and are missing.
        """
        import pandas as pd

        if isinstance(index, pd.RangeIndex):
            stop = index.start + index.step * (len(index) + more)
            return pd.RangeIndex(index.start, stop, index.step, name=index.name)
        if not isinstance(index, pd.MultiIndex) and pd.api.types.is_integer_dtype(index.dtype):
            known = index.dropna()
            first = int(known.max()) + 1 if len(known) else 0
            # A narrow dtype may overflow.
            for dtype in (getattr(index.dtype, "numpy_dtype", index.dtype), np.dtype("int64")):
                if first + more - 1 <= np.iinfo(dtype).max:
                    labels = pd.Index(np.arange(first, first + more, dtype=dtype), name=index.name)
                    return index.append(labels)
        if not isinstance(index, pd.MultiIndex):
            with_room = pandas_columns.SERIES.room(index.to_series())
            if with_room.dtype != index.dtype:
                index = pd.Index(with_room, name=index.name)
        return index.take(np.r_[np.arange(len(index)), np.full(more, -1)], fill_value=pd.NA)


class Arrow:
    """Operations on `pyarrow.Table`s, and on what converts to one: a RecordBatch, or any stream of
    Arrow's C interface.
    """

    def names(self, frame: Any) -> list[Any]:
        return list(frame.column_names)

    def count(self, frame: Any) -> int:
        return int(frame.num_rows)

    def cells(self, frame: Any, name: str) -> Cells:
        (column,) = ARROW.read(frame.select([name]))
        return column

    def empty(self, frame: Any, name: str) -> NDArray[np.bool_]:
        return arrow_columns.empty(frame[name])

    def take(self, frame: Any, rows: Places, names: Sequence[str] | None = None) -> Any:
        if names is not None and not names:
            return Bare(len(rows), ARROW)
        return (frame if names is None else frame.select(list(names))).take(rows)

    def filled(self, frame: Any, cells: Any, sources: Mapping[str, Source]) -> Any:
        import pyarrow as pa

        fields = list(frame.schema)
        made = list(zip(fields, frame.columns, strict=True))
        places = {field.name: index for index, field in enumerate(fields)}
        for name, source in sources.items():
            new = cells[name].take(source.out_of)
            if name not in places:
                made.append((pa.field(name, new.type), new))
                continue
            field, column = made[places[name]]
            made[places[name]] = field, arrow_columns.put(column, source.into, new)
        return table_of(made, frame.schema)

    def made(self, columns: Sequence[Column], like: Any) -> Any:
        return ARROW.fitted(columns, like)

    def bare(self, frame: Any, rows: Places) -> Any:
        return None

    def extended(self, frame: Any, more: Any) -> Any:
        import pyarrow as pa

        made = []
        for field, column in zip(frame.schema, frame.columns, strict=True):
            missing = pa.chunked_array([pa.nulls(more.num_rows, column.type)])
            new = more[field.name] if field.name in more.column_names else missing
            made.append((field, arrow_columns.joined(*arrow_columns.agreed(column, new))))
        return table_of(made, frame.schema)


class Polars:
    """Operations on `polars.DataFrame`s."""

    def names(self, frame: Any) -> list[Any]:
        return list(frame.columns)

    def count(self, frame: Any) -> int:
        return int(frame.height)

    def cells(self, frame: Any, name: str) -> Cells:
        (column,) = POLARS.read(frame.select([name]))
        return column

    def empty(self, frame: Any, name: str) -> NDArray[np.bool_]:
        return empty(frame[name])

    def take(self, frame: Any, rows: Places, names: Sequence[str] | None = None) -> Any:
        if names is not None and not names:
            return Bare(len(rows), POLARS)
        return (frame if names is None else frame.select(list(names)))[rows]

    def filled(self, frame: Any, cells: Any, sources: Mapping[str, Source]) -> Any:
        made, own = [], frozenset(frame.columns)
        for name, source in sources.items():
            new = cells[name].gather(source.out_of)
            if name in own:
                new = polars_columns.put(frame[name], source.into, new)
            made.append(new)
        return frame.with_columns(made)

    def made(self, columns: Sequence[Column], like: Any) -> Any:
        return POLARS.fitted(columns, like)

    def bare(self, frame: Any, rows: Places) -> Any:
        return None

    def extended(self, frame: Any, more: Any) -> Any:
        import polars as pl

        columns = []
        for name in frame.columns:
            missing = pl.Series(name, [None] * more.height, frame[name].dtype)
            new = more[name] if name in more.columns else missing
            columns.append(polars_columns.joined(*polars_columns.agreed(frame[name], new)))
        return pl.DataFrame(columns)


ROWS, TABLES, FRAMES, POLARS_FRAMES = Rows(), Arrow(), Pandas(), Polars()
