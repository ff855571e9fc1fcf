"""What is a `pyarrow.Table`, or becomes one, taken apart and made again; as `frames` says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
        return self.given_back(self._made(columns, like))

    def given_back(self, table: Any) -> Any:
        """A Table as the caller's kind of data."""
        return table

    def _made(self, columns: Sequence[Column], like: Any) -> Any:
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

    def given_back(self, table: Any) -> Any:
        if not table.num_rows:
            empty = [column.combine_chunks() for column in table.columns]
            return _arrow("").RecordBatch.from_arrays(empty, schema=table.schema)
        (batch,) = table.combine_chunks().to_batches()
        return batch


@dataclass(frozen=True)
class Streamed(Arrow):
    """Whatever else gave a stream of Arrow's C interface, once it is a `pyarrow.Table`.

    A stream may be there to be read once, and what computes it anew may give other rows, or the
    same in another order. So it is read when it is first looked at, and never again; of what gave
    it no more is kept than how its type is made.

    Attributes:
        source: the type of what gave the stream. Its own `from_arrow` makes what comes back; where
            it has none, that is the Table.
    """

    source: type

    def table(self, data: Any) -> Any:
        """All that a stream gives.

        Raises:
            InvalidRequest: it is a single column's, as a Series is.
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
