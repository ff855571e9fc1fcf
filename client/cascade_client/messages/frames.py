"""Frames of every kind: how they are taken apart, cut, and made again as they were.

No package of frames is imported here but by who has one in hand: a value of one of their types can
only exist where the caller has imported them already. Plain rows come by none of this.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from cascade_proto.cells import NULL_STATE, OBSERVED_STATE
from numpy.typing import NDArray

from cascade_client.errors import InvalidRequest, MissingDependency
from cascade_client.messages.cells import Cells, name_of, plain


class ArrowStream(Protocol):
    """Data that gives itself away as a stream of Arrow's C interface, as all frames do."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


Frame = TypeVar("Frame", bound=ArrowStream)
# A column that was answered: its name, its values and which of them are NULL.
Column = tuple[str, NDArray[Any], NDArray[np.bool_]]


class FrameKind(Protocol):
    """One kind of frame."""

    def count(self, frame: Any) -> int:
        """Its rows."""

    def part(self, frame: Any, begin: int, end: int) -> Any:
        """Some of its rows."""

    def read(self, frame: Any) -> tuple[Cells, ...]:
        """Its columns, as they travel; None, NaN, NaT, NA and nulls are NULL.

        Raises:
            InvalidRequest: a name that is no string; a value that has no place in a table.
        """

    def labels(self, frame: Any, rows: Sequence[int]) -> list[Any] | None:
        """What the caller calls some of its rows; None: their places."""

    def make(self, columns: Sequence[Column], like: Any, draws: int) -> Any:
        """A frame of answered columns.

        Args:
            columns: rows of `like`, each `draws` times.
            like: the frame that was asked, whose columns' dtypes come back where they hold what was
                drawn; None: there is none.
            draws: of each row.
        """


def kind_of(data: object) -> FrameKind | None:
    """The kind of a frame; None: it is no frame.

    Raises:
        InvalidRequest: a frame of polars that is yet to be computed.
    """
    pandas, pyarrow, polars = (sys.modules.get(name) for name in ("pandas", "pyarrow", "polars"))
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return PANDAS
    if pyarrow is not None and isinstance(data, pyarrow.Table):
        return ARROW
    if pyarrow is not None and isinstance(data, pyarrow.RecordBatch):
        return BATCH
    if polars is not None and isinstance(data, polars.DataFrame):
        return POLARS
    if polars is not None and isinstance(data, polars.LazyFrame):
        raise InvalidRequest("data is a LazyFrame; a DataFrame is allowed: collect() it first")
    return STREAMED if hasattr(data, "__arrow_c_stream__") else None


def _arrow(why: str) -> Any:
    try:
        import pyarrow as pa
    except ImportError as exc:
        raise MissingDependency(f"pyarrow is not installed; pip install pyarrow, {why}") from exc
    return pa


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


class Arrow:
    """`pyarrow.Table`s; types, dictionaries and time zones are kept."""

    def count(self, frame: Any) -> int:
        return int(frame.num_rows)

    def part(self, frame: Any, begin: int, end: int) -> Any:
        return frame.slice(begin, end - begin)

    def read(self, frame: Any) -> tuple[Cells, ...]:
        columns = []
        for name, column in zip(frame.column_names, frame.columns, strict=True):
            empty = column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
            known = column.filter(column.is_valid())
            # A nanosecond time becomes a pandas Timestamp where pandas is there; microseconds not.
            if str(known.type).startswith("timestamp[ns"):
                pa = _arrow("")
                known = known.cast(pa.timestamp("us", known.type.tz), safe=False)
            values = [value for value in known.to_pylist() if value == value]  # without NaN
            columns.append(with_holes(name, values, empty))
        return tuple(columns)

    def labels(self, _frame: Any, _rows: Sequence[int]) -> list[Any] | None:
        return None

    def make(self, columns: Sequence[Column], like: Any, draws: int) -> Any:
        pa = _arrow("or ask for kind='rows'")
        strings = {"O": pa.string()}
        out = pa.table(
            {
                name: pa.array(values, mask=null, type=strings.get(values.dtype.kind))
                for name, values, null in columns
            }
        )
        if like is None:
            return out
        for at, name in enumerate(out.column_names):
            if name in like.schema.names:
                wanted = like.schema.field(name).type
                try:
                    out = out.set_column(at, name, self.cast_like(out[name], wanted, pa))
                except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
                    continue  # What was drawn does not fit; it comes back in its own type.
        return out

    def cast_like(self, column: Any, wanted: Any, pa: Any) -> Any:
        if pa.types.is_dictionary(wanted):
            encoded = column.cast(wanted.value_type).dictionary_encode()
            return encoded.cast(wanted)
        if pa.types.is_timestamp(wanted) and wanted.tz is not None:
            column = column.cast(pa.timestamp("us", tz=wanted.tz))
        return column.cast(wanted)


class Batch(Arrow):
    """`pyarrow.RecordBatch`es."""

    def read(self, frame: Any) -> tuple[Cells, ...]:
        return super().read(_arrow("").Table.from_batches([frame]))

    def make(self, columns: Sequence[Column], like: Any, draws: int) -> Any:
        (out,) = super().make(columns, like, draws).combine_chunks().to_batches()
        return out


class Streamed:
    """Whatever else gives a stream of Arrow's C interface. What comes back is made by the type's
    own `from_arrow`; where it has none, it is a `pyarrow.Table`."""

    def count(self, frame: Any) -> int:
        return ARROW.count(self._table(frame))

    def part(self, frame: Any, begin: int, end: int) -> Any:
        return ARROW.part(self._table(frame), begin, end)

    def read(self, frame: Any) -> tuple[Cells, ...]:
        return ARROW.read(self._table(frame))

    def labels(self, _frame: Any, _rows: Sequence[int]) -> list[Any] | None:
        return None

    def make(self, columns: Sequence[Column], like: Any, draws: int) -> Any:
        made = ARROW.make(columns, self._table(like), draws)
        from_arrow = getattr(type(like), "from_arrow", None)
        return made if from_arrow is None else from_arrow(made)

    def _table(self, frame: Any) -> Any:
        pa = _arrow("to read data that comes as a stream of Arrow's")
        return frame if isinstance(frame, pa.Table) else pa.table(frame)


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


def with_holes(name: Any, values: list[Any], empty: Any) -> Cells:
    """A column of a frame.

    Args:
        name: its name.
        values: of the cells that have one, in order.
        empty: bool a row, which have none.
    """
    states = np.where(empty, np.uint8(NULL_STATE), np.uint8(OBSERVED_STATE)).tobytes()
    return Cells(name_of(name), [plain(name, value) for value in values], states)


PANDAS, ARROW, BATCH, POLARS, STREAMED = Pandas(), Arrow(), Batch(), Polars(), Streamed()
