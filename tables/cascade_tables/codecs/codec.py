"""The codec of a table: rows to tokens and back, in NumPy.

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
    """Encodes rows of a schema as T token slots, and decodes them; see `TokenLayout`.

    Args:
        schema: of the table.
        columns: the codec of each column, in the schema's order.
        leading: names of columns whose slots come first.
        evident: columns that can be computed where all others of a relation are given.
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
        """Encodes and decodes all columns of several rows at once; built on first use."""
        return self._at_once.rows

    @property
    def compiled(self) -> RowCodec | None:
        """Encodes and decodes single rows in C, from and to the bytes of their messages; built on
        first use. None: the C code was not compiled, or does not support this table."""
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
        """Whole rows to tokens int32 [n, T].

        Raises:
            UnknownColumn: the frame lacks a column.
            ValueNotAllowed: a category that the codec does not know, or NULL where there was none.
        """
        parts = [
            codec.encode(frame[name])
            for name, codec in zip(self.schema.names, self.columns, strict=True)
        ]
        return np.concatenate([parts[index] for index in self._order], axis=1)

    @property
    def learnable_width(self) -> int:
        """Numbers a row that `learnable` gives: T + relations."""
        return len(self.layout.sizes) + len(self.schema.relations)

    def learnable(self, frame: Frame) -> Tokens:
        """Whole rows as a network learns from them: tokens without marks, and behind them a flag a
        relation of the schema, int32 [n, T + relations]; see `marks`.

        Raises:
            UnknownColumn, ValueNotAllowed: as `encode`.
        """
        tokens, flags = self.encode(frame), flags_of(self.schema, frame)
        return np.concatenate([tokens, flags.astype(np.int32)], axis=1)

    def encode_partial(
        self, columns: Mapping[str, Sequence[Any]], n: int, strict: bool = False
    ) -> Encoded:
        """Rows from outside, checked value by value.

        A value that was never learnt is no reason to refuse its row. A number beyond the bounds is
        encoded as the bound, and a category that is none of the column's as the label that such
        fold into; where there is none, and where NULL or NaN was never learnt, it counts as not
        known.

        Args:
            columns: n Python values a column: None is NULL, `ABSENT` is not known. Date-times are
                microseconds since 1970-01-01 UTC, datetime (UTC where it has no zone) or
                datetime64. A column not named is absent. One row may be a `WireRow`, which takes a
                tenth of the time.
            n: rows.
            strict: whether to refuse values that were never learnt and do not fold.

        Raises:
            UnknownColumn: the schema has no such column.
            DataError: a column does not have n values.
            ValueNotAllowed: names the column, the value and what is allowed, or, of several, the
                first of them; they are of a type that their columns cannot hold, or `strict`.
        """
        return self._given_rows.encode(columns, n, strict)

    def mark_given(self, tokens: Tokens, numbers: NDArray[np.float64]) -> None:
        """Mark, in place, which relations hold of given numbers, where the network knows of them.

        Args:
            tokens: int32 [n, T].
            numbers: [n, C]; not a number where none is given.
        """
        self._given_rows.mark(tokens, numbers)

    def decode(self, tokens: Tokens, rng: np.random.Generator) -> Frame:
        """Tokens int32 [n, T] to rows, the source's columns, order and types."""
        return Frame(self.decode_columns(tokens, rng, self.schema.names))

    def decode_columns(
        self,
        tokens: Tokens,
        rng: np.random.Generator | Inside,
        names: Sequence[str],
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> dict[str, ColumnData]:
        """Only these columns of the rows, in this order.

        Args:
            tokens: int32 [n, T].
            rng: says where inside of its bin each number is: one column after another, or as it
                likes.
            names: columns.
            given: what was given of any columns, as for `encode_partial`, of as many rows or of a
                row for each n of them: numbers that follow from given ones are computed from
                these, not from what a token says of them. What is returned of a given value is
                what its token says.

        Raises:
            UnknownColumn: the schema has no such column.
        """
        return self._drawn_rows.decode(tokens, rng, names, given)

    @cached_property
    def groups(self) -> list[tuple[str, ...]]:
        """All columns, those together whose numbers may follow from each other."""
        names = self.schema.names
        return [tuple(names[place] for place in group) for group in self.arithmetic.groups]

    def compute(
        self, tokens: Tokens, numbers: NDArray[np.float64], drawn: NDArray[np.bool_]
    ) -> None:
        """Write over drawn numbers of rows what follows from their others.

        Args:
            tokens: int32 [n, T], as they were drawn.
            numbers: [n, C], written to; not a number where NULL.
            drawn: bool [n, C], what was not given; of these all numbers are there.
        """
        self._drawn_rows.compute(tokens, numbers, drawn)

    def decode_row(
        self,
        row: Sequence[int],
        rng: np.random.Generator | Inside,
        names: Sequence[str],
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> dict[str, Any]:
        """`decode_columns` of one row, in Python's own values: None for NULL, microseconds since
        1970-01-01 UTC for date-times. What a payment waits for: it takes a tenth of the time, but
        in a table with evident columns, which are computed with arrays.

        Args:
            row: T tokens.
            rng: the same numbers are taken of it as by `decode_columns`.
            names: columns.
            given: see `decode_columns`; of one row.

        Raises:
            UnknownColumn: the schema has no such column.
        """
        return self._drawn_rows.decode_one(row, rng, names, given)

    def write_row(
        self, tokens: Tokens, inside: Inside, names: Sequence[str], given: WireRow
    ) -> bytes | None:
        """A drawn row as `Rows` of the wire, in compiled code: `decode_row` for who sends on what
        it gives, and what was given as it came.

        Args:
            tokens: int32 [T].
            inside: as `rng` of `decode_row`, but always the same numbers for a column: it may be
                asked twice.
            names: columns, in the order in which they are wanted.
            given: of the row.

        Returns:
            None: `decode_row` is to be asked.

        Raises:
            UnknownColumn: the schema has no such column.
        """
        return self._drawn_rows.write(tokens, inside, names, given)

    def write_draws(
        self, tokens: Tokens, inside: Inside, names: Sequence[str], given: WireRow
    ) -> bytes | None:
        """`write_row` of several draws of one row, int32 [n, T], each column with the values of all
        draws; None: `decode_columns` is to be asked.

        Raises:
            UnknownColumn: the schema has no such column.
        """
        return self._drawn_rows.write_draws(tokens, inside, names, given)

    def to_dict(self) -> dict[str, Any]:
        """What a release's codec.json holds; `from_dict` restores it."""
        few = {"leading": list(self.leading), "evident": [list(each) for each in self._evident]}
        return {
            "schema": self.schema.to_dict(),
            "columns": [codec.to_dict() for codec in self.columns],
        } | {key: value for key, value in few.items() if value}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Codec:
        """What `to_dict` gave.

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
    """The codec that suits a column: numbers of many distinct values have bins."""
    data = frame[column.name]
    if column.kind.is_number and len(np.unique(data.present())) > MAX_EXACT:
        return BinnedCodec.fit(column, data)
    return ListedCodec.fit(column, data, FoldedCategories.fit(column, frame, grouping))


def column_from_dict(column: Column, content: dict[str, Any]) -> ColumnCodec:
    """What a column codec's `to_dict` gave.

    Raises:
        KeyError, TypeError, ValueError: it is none, or does not fit the column.
    """
    kinds: dict[str, type[BinnedCodec] | type[ListedCodec]] = {
        "listed": ListedCodec,
        "binned": BinnedCodec,
    }
    return kinds[content["codec"]].from_dict(column, content)
