"""Where a table's columns are among its token slots, by their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from cascade_tables.codecs.columns.column_codec import ColumnCodec
from cascade_tables.errors import DataError
from cascade_tables.schema import Kind, Schema

# Types of values that need no conversion, by kind; numbers have Python's two.
PLAIN = {Kind.CATEGORICAL: frozenset((str,)), Kind.BOOLEAN: frozenset((bool,))}


class Place(NamedTuple):
    """Where a column is.

    Attributes:
        column: its place in the schema.
        slots, codec: its own.
        ones: a byte 1 for each slot.
        plain: types of the values that are looked up as they are.
        nullable: whether it may be NULL.
    """

    column: int
    slots: slice
    codec: ColumnCodec
    ones: bytes
    plain: frozenset[type]
    nullable: bool


class Places(dict[str, Place]):
    """Places of columns by name; knows what to say of a name that is not there."""

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.schema = schema

    def __missing__(self, name: str) -> NoReturn:
        raise self.schema.unknown(name)


def uneven(name: str, values: Sequence[Any], n: int) -> DataError:
    """The error of a column that has not so many values as there are rows."""
    return DataError(f"column {name!r} has {len(values)} values; expected {n}, one a row")
