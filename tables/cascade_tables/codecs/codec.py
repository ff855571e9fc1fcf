"""Rows to tokens and back, in NumPy: exact for listed values, within the fine bin for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.absent import ABSENT, ABSENT_ONLY, HOLES
from cascade_tables.codecs.arithmetic import Arithmetic
from cascade_tables.codecs.binned_codec import BinnedCodec
from cascade_tables.codecs.binned_columns import BinnedColumns
from cascade_tables.codecs.column_codec import ColumnCodec, Tokens, typed
from cascade_tables.codecs.evident import Evident, check_evident, evident_columns
from cascade_tables.codecs.layout import TokenLayout
from cascade_tables.codecs.listed_codec import ListedCodec
from cascade_tables.codecs.marks import (
    check_marks,
    flags_of,
    leading_columns,
    marked_relations,
    marks_of,
)
from cascade_tables.codecs.number_rows import NumberRows
from cascade_tables.codecs.odd_values import NONE_ODD, Odd, alike, all_odd, equal
from cascade_tables.codecs.outside import Outside, OutsideValues
from cascade_tables.codecs.sums import Cells, cells_of, one_cell
from cascade_tables.errors import DataError, SchemaError
from cascade_tables.frame import ColumnData, Frame
from cascade_tables.infer import MAX_EXACT
from cascade_tables.schema import Column, Kind, Schema

# Where inside of its bin each number is: gives uniform numbers [b, n] for b binned columns, by
# their places in the schema; asked once at most.
Inside: TypeAlias = Callable[[Sequence[int]], NDArray[np.float64]]

# Types of values that need no conversion, by kind; numbers have Python's two.
PLAIN = {Kind.CATEGORICAL: frozenset((str,)), Kind.BOOLEAN: frozenset((bool,))}


@dataclass(frozen=True, eq=False)
class Encoded:
    """Rows from outside, some of whose columns are known.

    Attributes:
        tokens: int32 [n, T]; 0 where not observed.
        observed: bool [n, T].
        outside: values that are outside of what was learnt, and what was made of them; None:
            there are none.
    """

    tokens: Tokens
    observed: NDArray[np.bool_]
    outside: OutsideValues | None = None

    @property
    def notices(self) -> tuple[str, ...]:
        """What to tell a person of how the values were read."""
        return () if self.outside is None else self.outside.notices


class _Place(NamedTuple):
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


class _Places(dict[str, _Place]):
    """Places of columns by name; knows what to say of a name that is not there."""

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self._schema = schema

    def __missing__(self, name: str) -> NoReturn:
        raise self._schema.unknown(name)


def _uneven(name: str, values: Sequence[Any], n: int) -> DataError:
    return DataError(f"column {name!r} has {len(values)} values; expected {n}, one a row")


class Codec:
    """A schema's columns to and from T token slots; see `TokenLayout`.

    Args:
        schema: of the table.
        columns: a codec each.
        leading: names of the columns whose slots come first, in the schema's order.
        evident: columns that follow where all others of a relation are given.
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
        self._places = _Places(schema)
        begin = 0
        for at in self._order:
            codec = self.columns[at]
            column, width = codec.column, len(codec.sizes)
            plain = PLAIN.get(column.kind, frozenset((int, float)))
            slots = slice(begin, begin + width)
            self._places[column.name] = _Place(
                at, slots, codec, b"\1" * width, plain, column.nullable
            )
            begin += width
        self.kinds = {column.name: column.kind for column in schema.columns}
        first_slot = [self._places[name].slots.start for name in schema.names]
        drawn = [self.columns[at] for at in self._order]
        self.layout = TokenLayout(
            sizes=tuple(size for c in drawn for size in c.sizes),
            column=tuple(at for at in self._order for _ in self.columns[at].sizes),
            role=tuple(role for c in drawn for role in c.roles),
            positions=tuple(p for c in drawn for p in c.positions),
            marks=marks_of(schema, self.columns, first_slot),
            leading=sum(len(self._places[name].codec.sizes) for name in self.leading),
        )
        self._evident = tuple(evident)
        self.arithmetic = Arithmetic(schema, self.columns, self.layout, self._evident)

    @cached_property
    def rows(self) -> NumberRows:
        """The columns of several rows at once; made when it is first asked for."""
        return NumberRows(self.columns, self._bins, self.layout)

    @cached_property
    def _bins(self) -> BinnedColumns:
        return BinnedColumns(self.columns, self.layout.first_slot)

    @classmethod
    def fit(cls, schema: Schema, frame: Frame) -> Codec:
        """Learn each column's tokens from the rows the schema was inferred from."""
        columns = [fit_column(column, frame[column.name]) for column in schema.columns]
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
        return np.concatenate([parts[at] for at in self._order], axis=1)

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
                datetime64. A column not named is absent.
            n: rows.
            strict: whether to refuse values that were never learnt and do not fold.

        Raises:
            UnknownColumn: the schema has no such column.
            DataError: a column does not have n values.
            ValueNotAllowed: names the column, the value and what is allowed, or, of several, the
                first of them; they are of a type that their columns cannot hold, or `strict`.
        """
        if n != 1:
            return self._encode_rows(columns, n, strict)
        # What a payment waits for. Filled as Python's own sequences, which take single values
        # several times faster.
        width = len(self.layout.sizes)
        tokens, observed = [0] * width, bytearray(width)
        odd: list[Outside] = []
        compared = self.arithmetic.compared
        numbers: dict[int, float | int] = {}
        for name, values in columns.items():
            column, slots, codec, ones, _, _ = self._places[name]
            if len(values) != 1:
                raise _uneven(name, values, 1)
            value = values[0]
            if value is not ABSENT:
                tokens[slots] = codec.encode_value(value, odd)
                observed[slots] = ones
                if column in compared and (type(value) is int or type(value) is float):
                    numbers[column] = value
        if len(numbers) > 1:
            self.arithmetic.mark_row(tokens, numbers)
        outside = None
        if odd:
            outside = OutsideValues(1, strict)
            for each in odd:
                name = each.column.name
                outside.add(each, columns[name], (0,))
                if not each.is_known:
                    place = self._places[name]
                    observed[place.slots] = bytes(len(place.ones))
            outside.refuse()
        return Encoded(
            np.array(tokens, np.int32)[None],
            np.frombuffer(observed, np.bool_)[None],
            outside,
        )

    def _encode_rows(self, columns: Mapping[str, Sequence[Any]], n: int, strict: bool) -> Encoded:
        """`encode_partial` of several rows: all columns in one look-up, but for values which only
        their own codec knows what to do with."""
        numbers = np.full((len(self.columns), n), np.nan)
        known = np.zeros(numbers.shape, np.bool_)
        odd: dict[str, Odd] = {}
        for name, values in columns.items():
            found = self._put(name, values, numbers, known)
            if found is not NONE_ODD:
                odd[name] = found
        tokens, unknown = self.rows.encode(numbers.T)
        if unknown is not None:
            for at in np.flatnonzero(unknown.any(axis=0)).tolist():
                name = self.schema.names[at]
                found = odd.get(name, NONE_ODD)
                rows = np.union1d(found.rows, np.flatnonzero(unknown[:, at]))
                odd[name] = found._replace(rows=rows)
        outside = OutsideValues(n, strict) if odd else None
        if outside is not None:
            # In the order of the columns, in which they are told of.
            for name in columns:
                if name in odd:
                    found, of = odd[name], numbers[self._places[name].column]
                    self._encode_odd(name, columns[name], of, found, tokens, known, outside)
            outside.refuse()
            outside = outside if outside.totals else None
        self.mark_given(tokens, numbers.T)
        return Encoded(tokens, self.rows.observed(known.T), outside)

    def mark_given(self, tokens: Tokens, numbers: NDArray[np.float64]) -> None:
        """Mark, in place, which relations hold of given numbers, where the network knows of them.

        Args:
            tokens: int32 [n, T].
            numbers: [n, C]; not a number where none is given.
        """
        if self.arithmetic.compared:
            self.arithmetic.mark_rows(tokens, numbers)

    def _encode_odd(
        self,
        name: str,
        values: Sequence[Any],
        numbers: NDArray[np.float64],
        odd: Odd,
        tokens: Tokens,
        known: NDArray[np.bool_],
        outside: OutsideValues,
    ) -> None:
        """Write tokens [n, T] of a column's odd values, and which are known, [C, n] of all columns;
        note those that are outside."""
        place = self._places[name]
        column = place.codec.column
        groups = alike(column, values, odd.rows, numbers)
        if odd.is_by_value:
            groups = equal(values, odd.rows)
        for group in groups:
            said: list[Outside] = []
            tokens[group, place.slots] = place.codec.encode_value(values[group[0]], said)
            known[place.column, group] = all(each.is_known for each in said)
            for each in said:
                outside.add(each, values, group)

    def _put(
        self,
        name: str,
        values: Sequence[Any],
        numbers: NDArray[np.float64],
        known: NDArray[np.bool_],
    ) -> Odd:
        """Write a column's values as numbers, [C, n] of all columns, and which of them are known.

        Returns:
            The rows whose values the column's codec is to take one by one.

        Raises:
            UnknownColumn, DataError: see `encode_partial`.
        """
        place = self._places[name]
        column, n = place.column, numbers.shape[1]
        if len(values) != n:
            raise _uneven(name, values, n)
        kinds = set(map(type, values))
        holes = kinds & HOLES
        rows = self.rows
        if not kinds <= place.plain | holes or not rows.exact[column]:
            return all_odd(values)
        labels = rows.places[column]
        if labels and place.codec.column.kind is Kind.CATEGORICAL:
            get = labels.get
            as_numbers: Sequence[Any] = [get(value, math.nan) for value in values]
        elif holes:
            as_numbers = [
                math.nan if value is None or value is ABSENT else value for value in values
            ]
        else:
            as_numbers = values
        try:
            numbers[column] = as_numbers
        except OverflowError:
            numbers[column] = np.nan
            return all_odd(values)
        missing = 0
        if holes:
            known[column] = [value is not ABSENT for value in values]
            missing = sum(value is None or value is ABSENT for value in values)
        else:
            known[column] = True
        # What was no number before, or is none of the labels, is not missing.
        nothing = np.isnan(numbers[column])
        nulls_are_odd = type(None) in holes and not place.nullable
        if np.count_nonzero(nothing) == missing and not nulls_are_odd:
            return NONE_ODD
        at = np.flatnonzero(nothing)
        if holes:
            hole = HOLES if place.nullable else ABSENT_ONLY
            at = at[[type(values[row]) not in hole for row in at.tolist()]]
        return Odd(at, False)

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
        needed, more = self._followed(names, given or {}, tokens)
        out = self._decode_columns(tokens, rng, [*names, *more])
        for name, cells in self._computed(tokens, needed, given or {}, out.get).items():
            if name in out:
                kind = self.kinds[name]
                out[name] = ColumnData(typed(kind, cells.values), cells.null, out[name].dtype)
        return {name: out[name] for name in names} if more else out

    def _decode_columns(
        self, tokens: Tokens, rng: np.random.Generator | Inside, names: Sequence[str]
    ) -> dict[str, ColumnData]:
        places = [self._places[name] for name in names]
        drawn = [place for place in places if place.codec.listed is None]
        uniform = _inside(rng, len(tokens))([place.column for place in drawn])
        is_binned = [isinstance(place.codec, BinnedCodec) for place in drawn]
        found: Iterator[tuple[NDArray[Any], NDArray[np.bool_]]] = iter(())
        together = sum(is_binned) > 1
        if together:
            binned = [place.column for place, is_so in zip(drawn, is_binned, strict=True) if is_so]
            inside = uniform if all(is_binned) else uniform[is_binned]
            found = zip(*self._bins.decode(tokens, binned, inside), strict=True)
        numbers = iter(uniform)
        out = {}
        for name, place in zip(names, places, strict=True):
            column = place.codec.column
            if place.codec.listed is not None:
                out[name] = place.codec.decode(tokens[:, place.slots], None)
                continue
            own = next(numbers)
            if together and isinstance(place.codec, BinnedCodec):
                values, null = next(found)
                out[name] = ColumnData(typed(column.kind, values), null, column.dtype)
            else:
                out[name] = place.codec.decode(tokens[:, place.slots], own)
        return out

    def _followed(
        self, names: Sequence[str], given: Mapping[str, Sequence[Any]], tokens: Tokens
    ) -> tuple[list[int], list[str]]:
        """The columns, by their places, that numbers of these may follow from, they among them; and
        the names of those that have to be decoded for it, though they are not among these."""
        needed = self.arithmetic.needed([self._places[name].column for name in names], tokens)
        every = [self.schema.names[place] for place in needed]
        return needed, [
            name
            for name in every
            if name not in names and (name not in given or ABSENT in given[name])
        ]

    def _computed(
        self,
        tokens: Tokens,
        needed: Sequence[int],
        given: Mapping[str, Sequence[Any]],
        decoded: Callable[[str], ColumnData | None],
    ) -> dict[str, Cells]:
        """Numbers of columns that may follow from each other, by their places in the schema.

        Args:
            tokens: int32 [n, T].
            needed: the columns.
            given: what was given of any.
            decoded: what was decoded of a column; None: nothing.
        """
        cells = {}
        for place in needed:
            column = self.schema.columns[place]
            name = column.name
            cells[place] = cells_of(column, decoded(name), given.get(name), len(tokens))
        if cells:
            self.arithmetic.solve(tokens, cells)
        return {self.schema.names[place]: found for place, found in cells.items()}

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
        cells = {}
        for place in self.arithmetic.needed(range(len(self.columns)), tokens):
            column, values = self.schema.columns[place], numbers[:, place]
            null = np.isnan(values)
            if column.kind is not Kind.CONTINUOUS:
                values = np.where(null, 0, values).astype(np.int64)
            cells[place] = Cells(values, null, drawn[:, place])
        if cells:
            self.arithmetic.solve(tokens, cells)
        for place, cell in cells.items():
            np.copyto(numbers[:, place], cell.values, where=cell.drawn & ~cell.null)

    def decode_row(
        self,
        row: Sequence[int],
        rng: np.random.Generator | Inside,
        names: Sequence[str],
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> dict[str, Any]:
        """`decode_columns` of one row, in Python's own values: None for NULL, microseconds since
        1970-01-01 UTC for date-times. What a payment waits for: it takes a tenth of the time, but
        where a number follows from others.

        Args:
            row: T tokens.
            rng: the same numbers are taken of it as by `decode_columns`.
            names: columns.
            given: see `decode_columns`; of one row.

        Raises:
            UnknownColumn: the schema has no such column.
        """
        given = given or {}
        needed: list[int] = []
        every = names
        if self.arithmetic.may_apply(row):
            tokens = np.array(row, np.int32)[None]
            needed, more = self._followed(names, given, tokens)
            every = [*names, *more]
        places = [self._places[name] for name in every]
        drawn = [place.column for place in places if place.codec.listed is None]
        uniform = iter(_inside(rng, 1)(drawn)[:, 0].tolist() if drawn else ())
        out = {}
        for name, (_, slots, codec, _, _, _) in zip(every, places, strict=True):
            begin = slots.start
            listed = codec.listed
            if listed is not None:
                out[name] = listed[row[begin]]
            elif isinstance(codec, ListedCodec):
                out[name] = codec.decode_value(row[begin], next(uniform))
            else:
                assert isinstance(codec, BinnedCodec)
                out[name] = codec.decode_value(row[begin], row[begin + 1], next(uniform))
        if not needed:
            return out

        def decoded(name: str) -> ColumnData | None:
            return one_cell(self.kinds[name], out[name]) if name in out else None

        computed = self._computed(tokens, needed, given, decoded)
        for name in names:
            if name in computed and not computed[name].null[0]:
                out[name] = computed[name].values[0].item()
        return {name: out[name] for name in names}

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
        except (KeyError, TypeError, ValueError) as exc:
            raise SchemaError(f"this is not a codec: {exc!r}") from exc


def _inside(rng: np.random.Generator | Inside, rows: int) -> Inside:
    if not isinstance(rng, np.random.Generator):
        return rng
    return lambda columns: rng.random((len(columns), rows))


def fit_column(column: Column, data: ColumnData) -> ColumnCodec:
    """The codec that suits a column: numbers of many distinct values have bins."""
    if column.kind.is_number and len(np.unique(data.present())) > MAX_EXACT:
        return BinnedCodec.fit(column, data)
    return ListedCodec.fit(column, data)


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
