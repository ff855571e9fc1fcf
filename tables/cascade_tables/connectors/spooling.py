"""Chunks of a table to one Parquet file, whose columns have one type each and lose nothing.

Databases give a table in chunks, and some decide a column's type anew for each: the first thousand
rows may all be NULL. So chunks are written as they come, in pieces of equal types, and where that
was more than one, or a column's type is only known when all of it was seen, once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cascade_tables.errors import DataError
from cascade_tables.frame import check_unique

# Decimals of any precision, as text: they become whole numbers or reals when all were seen.
NUMERIC = "cascade.numeric"
# Digits that every whole number of 64 bits can have.
_WHOLE = r"^-?[0-9]{1,18}$"
_MARKED = {b"cascade": NUMERIC.encode()}
ROWS = 65_536


def spool(chunks: Iterable[pa.RecordBatch | pa.Table], path: Path, called: str) -> int:
    """Write a table, in whatever chunks it comes, as one Parquet file.

    Args:
        chunks: of equal columns.
        path: of the file.
        called: the table, in messages.

    Returns:
        Its rows.

    Raises:
        DataError: there are none, or two columns share a name.
    """
    pieces = _Pieces(path, called)
    try:
        for chunk in chunks:
            pieces.add(chunk)
        if not pieces.rows:
            raise DataError(f"{called} has no rows")
        pieces.finish()
    except BaseException:  # also KeyboardInterrupt: pieces as large as the table would stay
        pieces.drop()
        raise
    return pieces.rows


class _Pieces:
    def __init__(self, path: Path, called: str) -> None:
        self._path, self._called = path, called
        self._files: list[Path] = []
        self._schemas: list[pa.Schema] = []
        self._writer: Any = None
        self._fractions: set[str] = set()
        self.rows = 0

    def add(self, chunk: pa.RecordBatch | pa.Table) -> None:
        if isinstance(chunk, pa.RecordBatch):
            chunk = pa.Table.from_batches([chunk])
        check_unique(chunk.column_names, f"{self._called}: ")
        if not chunk.num_columns:
            raise DataError(f"{self._called} has no columns")
        fields, columns = [], []
        for field, column in zip(chunk.schema, chunk.columns, strict=True):
            made, numeric = plain(column)
            if numeric and field.name not in self._fractions and not _all_whole(made):
                self._fractions.add(field.name)
            fields.append(pa.field(field.name, made.type, metadata=_MARKED if numeric else None))
            columns.append(made)
        schema = pa.schema(fields)
        if not self._schemas or not schema.equals(self._schemas[-1], check_metadata=True):
            self._close()
            self._files.append(self._path.with_name(f"{self._path.name}.{len(self._files)}"))
            self._schemas.append(schema)
            self._writer = pq.ParquetWriter(self._files[-1], schema, compression="zstd")
        self._writer.write_table(pa.table(columns, schema=schema))
        self.rows += chunk.num_rows

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def finish(self) -> None:
        self._close()
        types = self._types()
        if len(self._schemas) == 1 and types == self._schemas[0].remove_metadata():
            self._files[0].replace(self._path)
            return
        with pq.ParquetWriter(self._path, types, compression="zstd") as out:
            for file in self._files:
                with pq.ParquetFile(file) as piece:
                    for batch in piece.iter_batches(ROWS, use_threads=False):
                        columns = [
                            _cast(column, field.type)
                            for column, field in zip(batch.columns, types, strict=True)
                        ]
                        out.write_table(pa.table(columns, schema=types))
        self.drop()

    def _types(self) -> pa.Schema:
        fields = []
        for name in self._schemas[0].names:
            seen = [schema.field(name) for schema in self._schemas]
            fields.append(pa.field(name, self._type(name, seen)))
        return pa.schema(fields)

    def _type(self, name: str, seen: list[pa.Field]) -> pa.DataType:
        known = [field for field in seen if not pa.types.is_null(field.type)]
        if known and all(field.metadata for field in known):
            return pa.float64() if name in self._fractions else pa.int64()
        types = [pa.float64() if field.metadata else field.type for field in known]
        try:
            unified = pa.unify_schemas(
                [pa.schema([(name, each)]) for each in types], promote_options="permissive"
            )
        except pa.ArrowException:
            return pa.string()
        return unified.field(name).type if types else pa.null()

    def drop(self) -> None:
        self._close()
        for file in self._files:
            file.unlink(missing_ok=True)


def _all_whole(texts: Any) -> bool:
    # None: there is no value at all.
    return pc.all(pc.match_substring_regex(texts, _WHOLE), skip_nulls=True).as_py() is not False


def _cast(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    if column.type == wanted:
        return column
    if pa.types.is_string(wanted) and not pa.types.is_null(column.type):
        values = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.array(values, wanted)
    # A whole number beyond 2**53 in a column of reals is the nearest real.
    return column.cast(wanted, safe=not pa.types.is_floating(wanted))


def plain(column: Any) -> tuple[Any, bool]:
    """A column in a type that files and models know, as far as there is one.

    Returns:
        The column; and whether it is text that holds decimals.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        name = getattr(kind, "type_name", "") or ""
        column = _storage(column)
        kind = column.type
        if name == "numeric":
            return column.cast(pa.string()), True
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == 16:
        texts = [None if value is None else str(UUID(bytes=value)) for value in column.to_pylist()]
        return pa.array(texts, pa.string()), False
    if pa.types.is_decimal(kind):
        return column.cast(pa.string()), True
    if pa.types.is_time(kind):
        return _seconds(column.cast(pa.int64()), kind.unit), False
    if pa.types.is_duration(kind):
        return _seconds(column.cast(pa.int64()), kind.unit), False
    if pa.types.is_interval(kind):
        # As PostgreSQL counts: a month has thirty days.
        values = [
            None
            if value is None
            else (value.months * 30 + value.days) * 86_400 + value.nanoseconds / 1e9
            for value in column.to_pylist()
        ]
        return pa.array(values, pa.float64()), False
    return column, False


def _storage(column: Any) -> Any:
    if isinstance(column, pa.ChunkedArray):
        kind = column.type.storage_type
        return pa.chunked_array([each.storage for each in column.chunks], kind)
    return column.storage


def _seconds(counts: Any, unit: str) -> Any:
    per = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    return pc.divide(counts.cast(pa.float64()), float(per))


def batches_of(path: Path) -> Iterator[pa.RecordBatch]:
    """A Parquet file's rows, some at a time."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        yield from file.iter_batches(ROWS, use_threads=False)
