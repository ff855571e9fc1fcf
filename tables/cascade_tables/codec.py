"""Rows to tokens and back, in NumPy: exact for listed values, within the fine bin for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
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


def _uneven(name: str, values: Sequence[Any], n: int) -> DataError:
    return DataError(f"column {name!r} has {len(values)} values; expected {n}, one a row")


def _looked_up(
    codec: ColumnCodec, values: Sequence[Any], kinds: Set[type], notices: list[str]
) -> list[tuple[int, ...]]:
    """Tokens of a column's values, which are of some types; zeros for `ABSENT`."""
    # 1, 1.0 and True are distinct.
    keys = values if len(kinds) == 1 else list(zip(map(type, values), values, strict=True))
    try:
        found: dict[Any, tuple[int, ...]] = dict.fromkeys(keys, ())
    except TypeError:  # not hashable, and so not allowed either
        return [codec.encode_value(value, notices) for value in values if value is not ABSENT]
    for key in found:
        value = key if keys is values else key[1]
        absent = value is ABSENT
        found[key] = (0,) * len(codec.sizes) if absent else codec.encode_value(value, notices)
    return list(map(found.__getitem__, keys))


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
        if n != 1:
            return self._encode_rows(columns, n)
        # What a payment waits for. Filled as Python's own sequences, which take single values
        # several times faster.
        width = len(self.layout.sizes)
        tokens, observed = [0] * width, bytearray(width)
        notices: list[str] = []
        for name, values in columns.items():
            slots, codec, ones = self._places[name]
            if len(values) != 1:
                raise _uneven(name, values, 1)
            value = values[0]
            if value is not ABSENT:
                tokens[slots] = codec.encode_value(value, notices)
                observed[slots] = ones
        return Encoded(
            np.array(tokens, np.int32)[None],
            np.frombuffer(observed, np.bool_)[None],
            tuple(notices),
        )

    def _encode_rows(self, columns: Mapping[str, Sequence[Any]], n: int) -> Encoded:
        """`encode_partial` of several rows: each distinct value is checked and looked up once."""
        width = len(self.layout.sizes)
        nothing, everything = (0,) * n, b"\1" * n
        tokens: list[Sequence[int]] = [nothing] * width
        observed = [bytes(n)] * width
        notices: list[str] = []
        for name, values in columns.items():
            slots, codec, _ = self._places[name]
            if len(values) != n:
                raise _uneven(name, values, n)
            kinds = set(map(type, values))
            if not kinds <= {_Absent}:
                tokens[slots] = zip(*_looked_up(codec, values, kinds, notices), strict=True)
                known = everything
                if _Absent in kinds:
                    known = bytes(value is not ABSENT for value in values)
                observed[slots] = [known] * (slots.stop - slots.start)
        # A slot after the other until here; [n, T] from here on.
        by_slot = np.fromiter(chain.from_iterable(tokens), np.int32, width * n)
        known_by_slot = np.asarray(memoryview(b"".join(observed))).view(np.bool_)
        return Encoded(
            by_slot.reshape(width, n).T.copy(),
            known_by_slot.reshape(width, n).T.copy(),
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

    def decode_listed(self, row: Sequence[int], names: Sequence[str]) -> dict[str, Any]:
        """Those of some columns of one row whose token says all there is to say, as Python's own
        values: None for NULL, microseconds since 1970-01-01 UTC for date-times.

        Raises:
            UnknownColumn: the schema has no such column.
        """
        out = {}
        for name in names:
            slots, codec, _ = self._places[name]
            if codec.listed is not None:
                out[name] = codec.listed[row[slots.start]]
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
