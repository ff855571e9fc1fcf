"""Rows to tokens and back, in NumPy: exact for listed values, within the fine bin for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from cascade_tables.column_codecs import ColumnCodec, Tokens, column_from_dict, fit_column
from cascade_tables.errors import DataError, SchemaError
from cascade_tables.frame import ColumnData, Frame
from cascade_tables.layout import TokenLayout
from cascade_tables.schema import Schema


class _Absent:
    """The type of `ABSENT`."""

    def __repr__(self) -> str:
        return "ABSENT"


# Stands for a value that is not known, and is to be synthesised. NULL (None) is a value.
ABSENT: Final = _Absent()


@dataclass(frozen=True, eq=False)
class Encoded:
    """Rows from outside, some of whose columns are known.

    Attributes:
        tokens: int32 [n, T]; 0 where not observed.
        observed: bool [n, T].
        notices: what was changed on the way, such as an unseen category that was folded.
    """

    tokens: Tokens
    observed: NDArray[np.bool_]
    notices: tuple[str, ...]


class _Places(dict[str, tuple[slice, ColumnCodec, bytes]]):
    """By name a column's slots, its codec, and a 1 for each slot."""

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self._schema = schema

    def __missing__(self, name: str) -> NoReturn:
        raise self._schema.unknown(name)


class Codec:
    """A schema's columns to and from T token slots; see `TokenLayout`."""

    def __init__(self, schema: Schema, columns: Sequence[ColumnCodec]) -> None:
        self.schema = schema
        self.columns = tuple(columns)
        at = np.cumsum([0, *(len(c.sizes) for c in self.columns)]).tolist()
        self._places = _Places(schema)
        for name, codec, begin, end in zip(
            schema.names, self.columns, at[:-1], at[1:], strict=True
        ):
            self._places[name] = (slice(begin, end), codec, b"\1" * (end - begin))
        self.kinds = {column.name: column.kind for column in schema.columns}
        self.layout = TokenLayout(
            sizes=tuple(size for c in self.columns for size in c.sizes),
            column=tuple(i for i, c in enumerate(self.columns) for _ in c.sizes),
            role=tuple(role for c in self.columns for role in c.roles),
            positions=tuple(p for c in self.columns for p in c.positions),
        )

    @classmethod
    def fit(cls, schema: Schema, frame: Frame) -> Codec:
        """Learn each column's tokens from the rows the schema was inferred from."""
        return cls(schema, [fit_column(column, frame[column.name]) for column in schema.columns])

    def encode(self, frame: Frame) -> Tokens:
        """Whole rows to tokens int32 [n, T].

        Raises:
            UnknownColumn: the frame lacks a column.
            ValueNotAllowed: a category that the codec does not know, or NULL where there was none.
        """
        parts = [
            codec.encode(frame[name])
            for name, codec in zip(self.schema.names, self.columns, strict=True)
        ]
        return np.concatenate(parts, axis=1)

    def encode_partial(self, columns: Mapping[str, Sequence[Any]], n: int) -> Encoded:
        """Rows from outside, checked value by value.

        Args:
            columns: n Python values a column: None is NULL, `ABSENT` is not known. Date-times are
                microseconds since 1970-01-01 UTC, datetime (UTC where it has no zone) or
                datetime64. A column not named is absent.
            n: rows.

        Raises:
            UnknownColumn: the schema has no such column.
            DataError: a column does not have n values.
            ValueNotAllowed: names the column, the value and what is allowed.
        """
        # Filled as Python's own sequences, which take single values several times faster.
        width = len(self.layout.sizes)
        tokens, observed = [0] * (n * width), bytearray(n * width)
        notices: list[str] = []
        for name, values in columns.items():
            slots, codec, ones = self._places[name]
            if len(values) != n:
                raise DataError(
                    f"column {name!r} has {len(values)} values; expected {n}, one a row"
                )
            if n == 1:  # what a payment waits for
                if values[0] is not ABSENT:
                    tokens[slots] = codec.encode_value(values[0], notices)
                    observed[slots] = ones
                continue
            # Each distinct value is checked and looked up once; 1, 1.0 and True are distinct.
            seen: dict[Any, tuple[int, ...]] = {}
            for row, value in enumerate(values):
                if value is ABSENT:
                    continue
                key = (type(value), value)
                try:
                    found = seen.get(key)
                except TypeError:  # not hashable, and so not allowed either
                    found = None
                if found is None:
                    found = seen[key] = codec.encode_value(value, notices)
                at = slice(row * width + slots.start, row * width + slots.stop)
                tokens[at] = found
                observed[at] = ones
        shape = (n, width)
        return Encoded(
            np.array(tokens, np.int32).reshape(shape),
            np.frombuffer(observed, np.bool_).reshape(shape),
            tuple(notices),
        )

    def decode(self, tokens: Tokens, rng: np.random.Generator) -> Frame:
        """Tokens int32 [n, T] to rows, the source's columns, order and types."""
        return Frame(self.decode_columns(tokens, rng, self.schema.names))

    def decode_columns(
        self, tokens: Tokens, rng: np.random.Generator, names: Sequence[str]
    ) -> dict[str, ColumnData]:
        """Only these columns of the rows, in this order.

        Raises:
            UnknownColumn: the schema has no such column.
        """
        out = {}
        for name in names:
            slots, codec, _ = self._places[name]
            out[name] = codec.decode(tokens[:, slots], rng)
        return out

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe; `from_dict` restores it."""
        return {
            "schema": self.schema.to_dict(),
            "columns": [codec.to_dict() for codec in self.columns],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Codec:
        """What `to_dict` gave.

        Raises:
            SchemaError: it is not a codec, or does not fit its schema.
        """
        try:
            schema = Schema.from_dict(content["schema"])
            entries = content["columns"]
            if len(entries) != len(schema.columns):
                raise SchemaError(
                    f"this codec has {len(entries)} columns, but the schema has "
                    f"{len(schema.columns)}"
                )
            pairs = zip(schema.columns, entries, strict=True)
            return cls(schema, [column_from_dict(column, entry) for column, entry in pairs])
        except SchemaError:
            raise
        except (KeyError, TypeError, ValueError) as exc:
            raise SchemaError(f"this is not a codec: {exc!r}") from exc
