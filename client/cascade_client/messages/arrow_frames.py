"""Conversion of `pyarrow.Table`s, and of what becomes one, to columns and back; see `frames`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cascade_client.columns import arrow_columns
from cascade_client.errors import InvalidRequest, MissingDependency
from cascade_client.messages.cells import Cells, Column, with_holes


def _arrow(why: str) -> Any:
    try:
        import pyarrow as pa
    except ImportError as exc:
        raise MissingDependency(f"pyarrow is not installed; pip install pyarrow, {why}") from exc
    return pa


class Arrow:
    """`pyarrow.Table`s; types, dictionaries and time zones are kept."""

    def count(self, frame: Any) -> int:
        return int(frame.num_rows)

    def part(self, frame: Any, begin: int, end: int) -> Any:
        return frame.slice(begin, end - begin)

    def read(self, frame: Any) -> tuple[Cells, ...]:
        columns = []
        for name, column in zip(frame.column_names, frame.columns, strict=True):
            empty = arrow_columns.empty(column)
            known = column.filter(column.is_valid())
            # With pandas installed, Arrow returns nanosecond times as Timestamps; microseconds
            # avoid that.
            if str(known.type).startswith("timestamp[ns"):
                pa = _arrow("")
                known = known.cast(pa.timestamp("us", known.type.tz), safe=False)
            values = [value for value in known.to_pylist() if value == value]  # without NaN
            columns.append(with_holes(name, values, empty))
        return tuple(columns)

    def labels(self, _frame: Any, _rows: Sequence[int]) -> list[Any] | None:
        return None

    def make(self, columns: Sequence[Column], like: Any, draws: int) -> Any:
        rows = None if draws == 1 or like is None else np.arange(like.num_rows).repeat(draws)

        def put_into(given: Any, cells: Any) -> Any:
            given = given if rows is None else given.take(rows)
            into = np.flatnonzero(arrow_columns.empty(given))
            return arrow_columns.put(given, into, cells.take(into))

        return self.given_back(self._made(columns, like, put_into))

    def fitted(self, columns: Sequence[Column], like: Any) -> Any:
        """Build a Table of columns in the types of another, if these can hold them."""
        return self._made(columns, like, lambda own, cells: arrow_columns.agreed(own, cells)[1])

    def given_back(self, table: Any) -> Any:
        """Convert a Table back to the caller's kind of data."""
        return table

    def _made(
        self, columns: Sequence[Column], like: Any, put_into: Callable[[Any, Any], Any]
    ) -> Any:
        pa = _arrow("or ask for kind='rows'")
        strings = {"O": pa.string()}
        made, own = [], frozenset() if like is None else frozenset(like.schema.names)
        for name, values, null in columns:
            cells = pa.array(values, mask=null, type=strings.get(values.dtype.kind))
            column, field = pa.chunked_array([cells]), pa.field(name, cells.type)
            if name in own:
                column, field = put_into(like[name], column), like.schema.field(name)
            made.append((field, column))
        return table_of(made, pa.schema([]) if like is None else like.schema)


def table_of(columns: Iterable[tuple[Any, Any]], schema: Any) -> Any:
    """Build a Table of columns.

    Args:
        columns: each with a field whose name and metadata it keeps; its type and nullability may
            change.
        schema: provides the table's metadata.
    """
    pa = _arrow("")
    fields, arrays, others = [], [], set()
    for field, column in columns:
        if field.type != column.type:
            others.add(field.name)
        has_null = field.nullable or column.null_count > 0
        fields.append(field.with_type(column.type).with_nullable(has_null))
        arrays.append(column)
    metadata = dict(schema.metadata or {})
    if others and b"pandas" in metadata:
        # These metadata give the columns' dtypes in pandas, and pandas trusts them.
        told = json.loads(metadata[b"pandas"])
        told["columns"] = [each for each in told["columns"] if each.get("field_name") not in others]
        metadata[b"pandas"] = json.dumps(told).encode()
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata or None))


class Batch(Arrow):
    """`pyarrow.RecordBatch`es."""

    def read(self, frame: Any) -> tuple[Cells, ...]:
        return super().read(_arrow("").Table.from_batches([frame]))

    def make(self, columns: Sequence[Column], like: Any, draws: int) -> Any:
        whole = None if like is None else _arrow("").Table.from_batches([like])
        return super().make(columns, whole, draws)

    def given_back(self, table: Any) -> Any:
        if not table.num_rows:
            empty = [column.combine_chunks() for column in table.columns]
            return _arrow("").RecordBatch.from_arrays(empty, schema=table.schema)
        (batch,) = table.combine_chunks().to_batches()
        return batch


@dataclass(frozen=True)
class Streamed(Arrow):
    """Any other object with a stream of Arrow's C interface, after conversion to a `pyarrow.Table`.

    A stream may be readable only once, and recomputing it may give other rows, or another order. So
    it is read on first use and never again, and only the way to rebuild its type is kept.

    Attributes:
        source: type of the object that provided the stream. Its own `from_arrow` makes the result;
            without that method, the result is the Table.
    """

    source: type

    def table(self, data: Any) -> Any:
        """Read a whole stream.

        Raises:
            InvalidRequest: it is a single column's, like that of a Series.
            MissingDependency: pyarrow is not installed.
        """
        pa = _arrow("to read data that comes as a stream of Arrow's")
        try:
            reader = pa.RecordBatchReader.from_stream(data)
        except pa.ArrowInvalid as exc:
            raise InvalidRequest(
                f"data is a {self.source.__name__}, whose stream of Arrow's is no table's; a frame "
                "is allowed, of a Series its to_frame()"
            ) from exc
        return reader.read_all()

    def given_back(self, table: Any) -> Any:
        from_arrow = getattr(self.source, "from_arrow", None)
        return table if from_arrow is None else from_arrow(table)
