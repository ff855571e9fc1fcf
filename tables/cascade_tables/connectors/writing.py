"""What sinks share: the mark that tells a repeat, types of columns, and tables that are taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from cascade_tables.connectors.locations import Kind, Location
from cascade_tables.errors import DataError, listing, shown

# The table beside those that jobs have written, in which their ids stand, and the temporary one by
# way of which rows go into a table that is there.
RECORDS, STAGED = "cascade_jobs", "cascade_staged"


class TableTaken(DataError):
    """A table or file is there already, and is not to be added to."""

    @classmethod
    def of(cls, location: Location) -> TableTaken:
        """The error for a table that has rows."""
        return cls(
            f"{location} is there and has rows; name a table that is not there yet, or an empty one"
        )


def check_name(location: Location) -> None:
    """Refuse a table of which the name is for what is beside it, where its rows would be lost.

    Raises:
        DataError: it is.
    """
    if location.kind is Kind.DATABASE and location.table:
        name = location.table[-1]
        # Many databases take capitals for small letters.
        if name.lower() in (RECORDS, STAGED):
            raise DataError(
                f"{location}: a table {shown(name)} is for what Cascade writes down of its own; "
                f"allowed: any name but {RECORDS} and {STAGED}"
            )


def check_columns(location: Location, wanted: Sequence[str], there: Sequence[str]) -> None:
    """Refuse rows of which a table that is there lacks columns.

    Args:
        location: of the table.
        wanted: columns of the rows.
        there: those of the table.

    Raises:
        DataError: it lacks some; names them, and those that it has.
    """
    if lacking := [shown(name) for name in wanted if name not in there]:
        raise DataError(
            f"{location} has no columns {listing(lacking)}; it has "
            f"{listing(map(shown, there))}. Write to a table that is not there yet, or only the "
            "columns that it has"
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
