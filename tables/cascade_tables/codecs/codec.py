"""The codec of a table: conversion of rows to tokens and back, in NumPy.

Values of listed columns survive the round trip exactly, numbers in bins within their fine bin.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.columns.binned_codec import BinnedCodec
from cascade_tables.codecs.columns.column_codec import ColumnCodec, Tokens
from cascade_tables.codecs.columns.folded import FoldedCategories
from cascade_tables.codecs.columns.grouping import Grouping
from cascade_tables.codecs.columns.listed_codec import ListedCodec
from cascade_tables.codecs.drawn_rows import DrawnRows, Inside
from cascade_tables.codecs.following.arithmetic import Arithmetic
from cascade_tables.codecs.following.evident import Evident, check_evident, evident_columns
from cascade_tables.codecs.following.marks import (
    check_marks,
    flags_of,
    leading_columns,
    marked_relations,
    marks_of,
)
from cascade_tables.codecs.given_rows import Encoded, GivenRows
from cascade_tables.codecs.layout import TokenLayout
from cascade_tables.codecs.native.row_codec import Compiled, RowCodec
from cascade_tables.codecs.native.wire_row import WireRow
from cascade_tables.codecs.number_rows import AllAtOnce, NumberRows
from cascade_tables.codecs.places import PLAIN, Place, Places
from cascade_tables.column_fields import check_column
from cascade_tables.errors import SchemaError, UnknownColumn
from cascade_tables.frame import ColumnData, Frame
from cascade_tables.infer import MAX_EXACT
from cascade_tables.schema import Column, Schema


class Codec:
    """Encoder and decoder between rows of a schema and T token slots; see `TokenLayout`.

    Args:
        schema: of the table.
        columns: the codec of each column, in the schema's order.
        leading: names of columns whose slots come first.
        evident: columns that can be computed if all others of a relation are given.
    """

    def __init__(
        self,
        schema: Schema,
        columns: Sequence[ColumnCodec],
        leading: Collection[str] = (),
        evident: Sequence[Evident] = (),
    ) -> None:
        self.schema = schema
        self.columns = tuple(columns)
        self.leading = tuple(name for name in schema.names if name in leading)
        names = [*self.leading, *(name for name in schema.names if name not in leading)]
        self._order = [schema.names.index(name) for name in names]
        self._places = Places(schema)
        begin = 0
        for index in self._order:
            codec = self.columns[index]
            column, width = codec.column, len(codec.sizes)
            plain = PLAIN.get(column.kind, frozenset((int, float)))
            slots = slice(begin, begin + width)
            self._places[column.name] = Place(
                index, slots, codec, b"\1" * width, plain, column.nullable
            )
            begin += width
        self.kinds = {column.name: column.kind for column in schema.columns}
        first_slot = [self._places[name].slots.start for name in schema.names]
        drawn = [self.columns[index] for index in self._order]
        self.layout = TokenLayout(
            sizes=tuple(size for c in drawn for size in c.sizes),
            column=tuple(index for index in self._order for _ in self.columns[index].sizes),
            role=tuple(role for c in drawn for role in c.roles),
            positions=tuple(p for c in drawn for p in c.positions),
            marks=marks_of(schema, self.columns, first_slot),
            leading=sum(len(self._places[name].codec.sizes) for name in self.leading),
        )
        self._evident = tuple(evident)
        self.arithmetic = Arithmetic(schema, self.columns, self.layout, self._evident)
        self._at_once = AllAtOnce(self.columns, self.layout)
        of_given = self.arithmetic.of_given
        self._compiled = Compiled(
            *(schema, self.columns, self.layout.first_slot, begin),
            *(of_given.of_whole_numbers(), sorted(of_given.compared)),
        )
        places, at_once, compiled = self._places, self._at_once, self._compiled
        self._given_rows = GivenRows(places, at_once, of_given, compiled)
        self._drawn_rows = DrawnRows(places, at_once, self.arithmetic, compiled)

    @property
    def rows(self) -> NumberRows:
        """Encoder and decoder of all columns of several rows at once; built on first use."""
        return self._at_once.rows

    @property
    def compiled(self) -> RowCodec | None:
        """Compiled encoder and decoder of single rows, from and to the bytes of their messages.

        Built on first use. None: the C code was not compiled, or does not support this table.
        """
        return self._compiled.rows

    @classmethod
    def fit(cls, schema: Schema, frame: Frame) -> Codec:
        """Learn each column's tokens from the rows the schema was inferred from."""
        grouping = Grouping(schema, frame)
        columns = [fit_column(column, frame, grouping) for column in schema.columns]
        marks = marked_relations(schema, columns)
        return cls(
            schema,
            [
                each.with_marks(marked) if isinstance(each, BinnedCodec) else each
                for each, marked in zip(columns, marks, strict=True)
            ],
            leading_columns(schema, columns),
            evident_columns(schema, columns, frame),
        )

    def encode(self, frame: Frame) -> Tokens:
        """Encode whole rows to tokens int32 [n, T].

        Raises:
            UnknownColumn: the frame lacks a column.
            ValueNotAllowed: a category that the codec does not know, or NULL in a column without
                NULLs.
        """
        parts = [
            codec.encode(frame[name])
            for name, codec in zip(self.schema.names, self.columns, strict=True)
        ]
        return np.concatenate([parts[index] for index in self._order], axis=1)

    @property
    def learnable_width(self) -> int:
        """Numbers per row of `learnable`: T + relations."""
        return len(self.layout.sizes) + len(self.schema.relations)

    def learnable(self, frame: Frame) -> Tokens:
        """Encode whole rows as training data: tokens without marks, followed by one flag per
        relation of the schema, int32 [n, T + relations]; see `marks`.

        Raises:
            UnknownColumn, ValueNotAllowed: as `encode`.
        """
        tokens, flags = self.encode(frame), flags_of(self.schema, frame)
        return np.concatenate([tokens, flags.astype(np.int32)], axis=1)

    def encode_partial(
        self, columns: Mapping[str, Sequence[Any]], n: int, strict: bool = False
    ) -> Encoded:
        """Encode a caller's rows and check each value.

        A value that was never learnt does not cause a refusal. A number beyond the bounds is
        encoded as the bound, and an unknown category as the label for others. Without such a label,
        and for NULL or NaN in a column that never had them, the value counts as not known.

        Args:
            columns: n Python values per column: None is NULL, `ABSENT` is not known. Date-times are
                microseconds since 1970-01-01 UTC, datetime (UTC without a zone) or datetime64. A
                missing column is absent. One row may be a `WireRow`, which takes a tenth of the
                time.
            n: rows.
            strict: whether to refuse values that were never learnt and do not fold.

        Raises:
            UnknownColumn: the schema has no such column.
            DataError: a column does not have n values.
            ValueNotAllowed: values have a type that their columns cannot hold, or are refused by
                `strict`; names the column, the value and what is allowed for the first ones.
        """
        return self._given_rows.encode(columns, n, strict)

    def mark_given(self, tokens: Tokens, numbers: NDArray[np.float64]) -> None:
        """Mark in place which relations hold among given numbers, for relations that the network
        knows.

        Args:
            tokens: int32 [n, T].
            numbers: [n, C]; NaN where none is given.
        """
        self._given_rows.mark(tokens, numbers)

    def decode(self, tokens: Tokens, rng: np.random.Generator) -> Frame:
        """Decode tokens int32 [n, T] to rows with the source's columns, order and types."""
        return Frame(self.decode_columns(tokens, rng, self.schema.names))

    def decode_columns(
        self,
        tokens: Tokens,
        rng: np.random.Generator | Inside,
        names: Sequence[str],
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> dict[str, ColumnData]:
        """Decode only these columns of the rows, in this order.

        Args:
            tokens: int32 [n, T].
            rng: chooses the place of each number inside its bin: a generator, used column after
                column, or a function.
            names: columns.
            given: given values of any columns, as for `encode_partial`, for as many rows, or for
                one row per n of them. Numbers that follow from given ones are computed from these
                values, not from their tokens. The returned value of a given column is that of its
                token.

        Raises:
            UnknownColumn: the schema has no such column.
        """
        return self._drawn_rows.decode(tokens, rng, names, given)

    @cached_property
    def groups(self) -> list[tuple[str, ...]]:
        """All columns, grouped by whether their numbers may follow from each other."""
        names = self.schema.names
        return [tuple(names[place] for place in group) for group in self.arithmetic.groups]

    def compute(
        self, tokens: Tokens, numbers: NDArray[np.float64], drawn: NDArray[np.bool_]
    ) -> None:
        """Overwrite drawn numbers of rows with the values that follow from their other numbers.

        Args:
            tokens: int32 [n, T], as drawn.
            numbers: [n, C], modified; NaN where NULL.
            drawn: bool [n, C], the columns that were not given; all of their numbers are present.
        """
        self._drawn_rows.compute(tokens, numbers, drawn)

    def decode_row(
        self,
        row: Sequence[int],
        rng: np.random.Generator | Inside,
        names: Sequence[str],
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> dict[str, Any]:
        """Decode one row to Python values: None for NULL, microseconds since 1970-01-01 UTC for
        date-times.

        For real-time calls: it takes a tenth of the time of `decode_columns`, except in a table
        with evident columns, which are computed with arrays.

        Args:
            row: T tokens.
            rng: uses the same random numbers as `decode_columns`.
            names: columns.
            given: see `decode_columns`; for one row.

        Raises:
            UnknownColumn: the schema has no such column.
        """
        return self._drawn_rows.decode_one(row, rng, names, given)

    def write_row(
        self, tokens: Tokens, inside: Inside, names: Sequence[str], given: WireRow
    ) -> bytes | None:
        """Encode a drawn row as `Rows` for the wire in compiled code.

        Equivalent to sending the result of `decode_row`, with given values copied from the request.

        Args:
            tokens: int32 [T].
            inside: as `rng` of `decode_row`, but it must return the same numbers for a column at
                each call: it may be called twice.
            names: columns, in output order.
            given: of the row.

        Returns:
            None: use `decode_row` instead.

        Raises:
            UnknownColumn: the schema has no such column.
        """
        return self._drawn_rows.write(tokens, inside, names, given)

    def write_draws(
        self, tokens: Tokens, inside: Inside, names: Sequence[str], given: WireRow
    ) -> bytes | None:
        """Encode several draws of one row, int32 [n, T], as `write_row` does, column by column.

        Returns None if `decode_columns` must be used instead.

        Raises:
            UnknownColumn: the schema has no such column.
        """
        return self._drawn_rows.write_draws(tokens, inside, names, given)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of a release's codec.json; `from_dict` restores it."""
        few = {"leading": list(self.leading), "evident": [list(each) for each in self._evident]}
        return {
            "schema": self.schema.to_dict(),
            "columns": [codec.to_dict() for codec in self.columns],
        } | {key: value for key, value in few.items() if value}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Codec:
        """Restore the output of `to_dict`.

        Raises:
            SchemaError: it is not a codec, or does not fit its schema.
        """
        try:
            schema = Schema.from_dict(content["schema"])
            for column in schema.columns:
                check_column(column)
            entries = content["columns"]
            if len(entries) != len(schema.columns):
                raise SchemaError(
                    f"this codec has {len(entries)} columns, but the schema has "
                    f"{len(schema.columns)}"
                )
            pairs = zip(schema.columns, entries, strict=True)
            columns = [column_from_dict(column, entry) for column, entry in pairs]
            check_marks(schema, columns)
            leading = content.get("leading", [])
            for name in leading:
                if name not in schema.names:
                    raise SchemaError(f"this codec draws {name!r} first, which is no column of its")
            evident = content.get("evident", [])
            check_evident(schema, columns, evident)
            return cls(schema, columns, leading, [Evident(*each) for each in evident])
        except SchemaError:
            raise
        except UnknownColumn as exc:
            raise SchemaError(str(exc)) from exc
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
            raise SchemaError(f"this is not a codec: {exc!r}") from exc


def fit_column(column: Column, frame: Frame, grouping: Grouping) -> ColumnCodec:
    """Fit the right codec for a column: numbers with many distinct values are binned."""
    data = frame[column.name]
    if column.kind.is_number and len(np.unique(data.present())) > MAX_EXACT:
        return BinnedCodec.fit(column, data)
    return ListedCodec.fit(column, data, FoldedCategories.fit(column, frame, grouping))


def column_from_dict(column: Column, content: dict[str, Any]) -> ColumnCodec:
    """Restore the output of a column codec's `to_dict`.

    Raises:
        KeyError, TypeError, ValueError: it is invalid, or does not fit the column.
    """
    kinds: dict[str, type[BinnedCodec] | type[ListedCodec]] = {
        "listed": ListedCodec,
        "binned": BinnedCodec,
    }
    return kinds[content["codec"]].from_dict(column, content)
