"""Token slots of a table's columns, by column name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from cascade_tables.codecs.columns.column_codec import ColumnCodec
from cascade_tables.errors import DataError
from cascade_tables.schema import Kind, Schema

# Types of values that need no conversion, by kind; numbers have Python's two.
PLAIN = {Kind.CATEGORICAL: frozenset((str,)), Kind.BOOLEAN: frozenset((bool,))}


class Place(NamedTuple):
    """Slots and codec of a column.

    Attributes:
        column: its index in the schema.
        slots, codec: its own.
        ones: a byte 1 for each slot.
        plain: types of the values that can be looked up directly.
        nullable: whether it may be NULL.
    """

    column: int
    slots: slice
    codec: ColumnCodec
    ones: bytes
    plain: frozenset[type]
    nullable: bool


class Places(dict[str, Place]):
    """Places of columns by name, with an error for unknown names."""

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.schema = schema

    def __missing__(self, name: str) -> NoReturn:
        raise self.schema.unknown(name)


def uneven(name: str, values: Sequence[Any], n: int) -> DataError:
    """Build the error for a column whose number of values differs from the number of rows."""
    return DataError(f"column {name!r} has {len(values)} values; expected {n}, one a row")
