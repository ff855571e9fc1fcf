"""What sinks share: the mark that tells a repeat, types of columns, and tables that are taken."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from cascade_tables.connectors.locations import Location
from cascade_tables.errors import DataError

# The table beside those that jobs have written, in which their ids stand.
RECORDS = "cascade_jobs"


class TableTaken(DataError):
    """A table or file is there already, and is not to be added to."""

    @classmethod
    def of(cls, location: Location) -> TableTaken:
        """The error for a table that has rows."""
        return cls(
            f"{location} is there and has rows; name a table that is not there yet, or an empty one"
        )


@dataclass(frozen=True)
class Mark:
    """Stands beside rows that were written, in the same transaction, so that who tries again sees
    that they are there.

    Attributes:
        job: which has written them; unique among all servers.
        rows: how many.
        specification: digest of what they are.
    """

    job: str
    rows: int
    specification: str


def sql_type(kind: pa.DataType) -> str:
    """The type of a column in SQL, by names that PostgreSQL, SQLite and DuckDB all know."""
    types = pa.types
    if types.is_boolean(kind):
        return "BOOLEAN"
    if types.is_integer(kind):
        return (
            "SMALLINT" if kind.bit_width <= 16 else "INTEGER" if kind.bit_width <= 32 else "BIGINT"
        )
    if types.is_floating(kind):
        return "REAL" if kind.bit_width <= 32 else "DOUBLE PRECISION"
    if types.is_date(kind):
        return "DATE"
    if types.is_timestamp(kind):
        return "TIMESTAMP WITH TIME ZONE" if kind.tz else "TIMESTAMP"
    return "TEXT"


def writable(kind: pa.DataType) -> pa.DataType:
    """The type nearest to one that every database knows."""
    types = pa.types
    if types.is_unsigned_integer(kind):
        return {8: pa.int16(), 16: pa.int32()}.get(kind.bit_width, pa.int64())
    if types.is_int8(kind):
        return pa.int16()
    if types.is_float16(kind):
        return pa.float32()
    if types.is_date(kind):
        return pa.date32()
    if types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return kind
    return pa.string()


def writable_schema(schema: pa.Schema) -> pa.Schema:
    """A table's columns in types that every database knows."""
    return pa.schema([pa.field(field.name, writable(field.type)) for field in schema])
