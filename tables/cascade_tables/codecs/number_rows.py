"""Rows as numbers, one a column, and all of a batch's to tokens in one look-up.

A column's tokens are a step function of its number: a category's is its place among the column's
labels (`ListedCodec.labels`), a boolean's 0 or 1, a date-time's its microseconds since 1970-01-01
UTC. The steps of all columns lie in one table, by column and then by number, so that one binary
search finds every value of a batch, where Python would ask each column's codec for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from cascade_proto.cells import NULL_STATE
from numpy.typing import NDArray

from cascade_tables.codecs.binned_columns import BinnedColumns
from cascade_tables.codecs.columns.binned_codec import BinnedCodec
from cascade_tables.codecs.columns.column_codec import ColumnCodec, Tokens
from cascade_tables.codecs.columns.listed_codec import ListedCodec
from cascade_tables.codecs.layout import TokenLayout
from cascade_tables.frame import ColumnData
from cascade_tables.schema import Column, Kind

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Whole numbers below it are told apart by a float64.
EXACT = 2**53
# Both tokens of a number that no step has: it is not allowed, or the column's codec is to say what
# it stands for.
UNKNOWN = -1
# From so many rows on, a search for each column is faster than one for all.
MANY_ROWS = 64


def is_exact(column: Column) -> bool:
    """Whether a float64 tells all numbers apart that the column may have."""
    if column.kind not in (Kind.INTEGER, Kind.DATETIME):
        return True
    bounds = (column.minimum, column.maximum)
    return all(bound is not None and -EXACT < bound < EXACT for bound in bounds)


def _steps(codec: ColumnCodec) -> tuple[Numbers, Tokens]:
    """Numbers [k] that a column's tokens change at, increasing from minus infinity, and the two
    tokens from each on, [k, 2]; `UNKNOWN` where there are none."""
    column = codec.column
    unknown = np.full((1, 2), UNKNOWN, np.int32)
    if not is_exact(column):
        return np.array([-math.inf]), unknown
    if isinstance(codec, BinnedCodec):
        assert column.minimum is not None
        assert column.maximum is not None
        found = {*codec.edges, *column.point_masses, column.minimum, column.maximum}
        points = np.array(sorted(found), np.float64)
        real = column.kind is Kind.CONTINUOUS
        points = np.unique([points, np.nextafter(points, math.inf) if real else points + 1])
        plain = points if real else points.astype(np.int64)
        nothing = np.zeros(len(plain), np.bool_)
        allowed = (points >= column.minimum) & (points <= column.maximum)
        tokens = np.where(allowed[:, None], codec.encode(ColumnData(plain, nothing)), UNKNOWN)
    else:
        assert isinstance(codec, ListedCodec)
        known = range(codec.kept) if codec.labels else codec.listed
        assert known is not None
        listed = np.array([value for value in known if value is not None], np.float64)
        # After each value the tokens are unknown until the next.
        points = np.stack([listed, np.nextafter(listed, math.inf)], axis=1).ravel()
        tokens = np.full((len(points), 2), UNKNOWN, np.int32)
        tokens[::2, 0] = np.arange(len(listed)) + column.nullable
        tokens[::2, 1] = 0
        if column.other is not None:
            # The label's place, where each further group begins, and what is beyond the last.
            begin = codec.kept + 1 + (codec.folded.begin[1:-1] if codec.folded else np.zeros(0))
            last = np.nextafter(len(codec.labels) - 1, math.inf)
            points = np.concatenate([points, [codec.kept], begin, [last]])
            shared = np.zeros((len(begin) + 2, 2), np.int32)
            shared[:, 0] = codec.other + np.arange(len(shared))
            shared[-1] = UNKNOWN
            tokens = np.concatenate([tokens, shared])
    return np.concatenate([[-math.inf], points]), np.concatenate([unknown, tokens])


class NumberRows:
    """A table's rows as numbers, to and from tokens.

    Args:
        codecs: of its columns, C of them.
        bins: of those that are binned.

    Attributes:
        labels: of each column, the values that stand as their places; see `ListedCodec`.
        exact: bool [C], see `is_exact`.
        nullable: bool [C].
        places: of each column, the place of each of its labels.
        binned: bool [C], whose tokens leave open which number of a bin is meant.
    """

    def __init__(
        self, codecs: Sequence[ColumnCodec], bins: BinnedColumns, layout: TokenLayout
    ) -> None:
        self._codecs, self._bins = tuple(codecs), bins
        columns = [codec.column for codec in codecs]
        listed = [codec if isinstance(codec, ListedCodec) else None for codec in codecs]
        self.labels = tuple(() if codec is None else codec.labels for codec in listed)
        self.exact = np.array([is_exact(column) for column in columns])
        self.nullable = np.array([column.nullable for column in columns])
        self.binned = np.array([isinstance(codec, BinnedCodec) for codec in codecs])
        whole = np.array([column.kind is not Kind.CONTINUOUS for column in columns])
        self._whole = None if whole.all() else whole
        self.places = [{} if codec is None else codec.places for codec in listed]
        self._folding = {
            at: codec for at, codec in enumerate(listed) if codec is not None and codec.folded
        }
        self._drawn = self.binned.copy()
        self._drawn[list(self._folding)] = True
        self._first = layout.first_slot
        self._column_of_slot = np.asarray(layout.column)
        # Where a slot's token is, among two a column.
        inside = np.arange(len(layout.column)) - self._first[self._column_of_slot]
        self._token_of_slot = 2 * self._column_of_slot + inside
        self._index_steps()
        self._list_cells()

    def _index_steps(self) -> None:
        """The table of all columns' steps; see the module's docstring."""
        by_column = [_steps(codec) for codec in self._codecs]
        self._numbers = [numbers for numbers, _ in by_column]
        ends = np.cumsum([0, *map(len, self._numbers)])
        self._step_of_column = ends[:-1]
        # NumPy orders complex numbers by their real parts, then by the imaginary ones. What is not
        # a number comes after all that are: past a last key, of no column.
        self._keys = np.empty(ends[-1] + 1, np.complex128)
        lengths = np.array([*map(len, self._numbers), 1])
        self._keys.real = np.repeat(np.arange(len(lengths)), lengths)
        self._keys.imag = np.concatenate([*self._numbers, [-math.inf]])
        self._columns = np.arange(len(by_column), dtype=np.float64)
        # By how many keys a number is not below. Two tokens in an element: they are taken together.
        before, after = np.full((1, 2), UNKNOWN, np.int32), np.zeros((1, 2), np.int32)
        pairs = np.concatenate([before, *(tokens for _, tokens in by_column), after])
        self._pairs = np.ascontiguousarray(pairs, np.int32).view(np.int64)[:, 0]

    def _list_cells(self) -> None:
        """The number and the state of each token of the columns that are listed."""
        cells, nulls, begin, end = [np.zeros(1)], [np.zeros(1, np.bool_)], [], 1
        for at, codec in enumerate(self._codecs):
            begin.append(end)
            if not self.binned[at]:
                data = codec.decode(np.arange(codec.sizes[0], dtype=np.int32)[:, None], None)
                cells.append(self.to_numbers(at, data))
                nulls.append(data.null)
                end += len(data)
        self._cells = np.concatenate(cells)
        self._states = np.concatenate(nulls) * np.uint8(NULL_STATE)
        self._begin = np.array(begin, np.int32)

    def to_numbers(self, column: int, data: ColumnData) -> Numbers:
        """A column's values as numbers, float64 [n]; NULL is not a number.

        Args:
            column: its place in the schema.
            data: a category that is none of the labels counts as the one that such fold into;
                where there is none, it is not a number either.
        """
        places = self.places[column]
        if places:
            column_codec = self._codecs[column].column
            unseen = math.nan if column_codec.other is None else len(column_codec.categories)
            out = np.array([places.get(cell, unseen) for cell in data.values.tolist()], np.float64)
        else:
            whole = data.values.dtype.kind == "M"
            out = data.values.astype(np.int64 if whole else np.float64).astype(np.float64)
        out[data.null] = np.nan
        return out

    def encode(self, numbers: Numbers) -> tuple[Tokens, Mask | None]:
        """Tokens int32 [n, T]; 0 where there is no number, which is right for NULL too.

        Args:
            numbers: [n, C]; not a number where a value is NULL or not known.

        Returns:
            Also, bool [n, C], which numbers are unknown: their column cannot have them, or its
            codec is to say what they stand for. Their tokens mean nothing. None: there are none.
        """
        if len(numbers) < MANY_ROWS:
            keys = np.empty(numbers.shape, np.complex128)
            keys.real, keys.imag = self._columns, numbers
            at = self._keys.searchsorted(keys, "right")
        else:
            at = np.empty(numbers.shape, np.intp)
            for column, steps in enumerate(self._numbers):
                at[:, column] = steps.searchsorted(numbers[:, column], "right")
            at += self._step_of_column
            at[np.isnan(numbers)] = len(self._keys)
        pairs = self._pairs.take(at).view(np.int32)
        fraction = np.floor(numbers) < numbers
        if self._whole is not None:
            fraction &= self._whole
        unknown = None
        if np.count_nonzero(pairs < 0) or np.count_nonzero(fraction):
            unknown = (pairs[:, ::2] < 0) | fraction
        return pairs.take(self._token_of_slot, axis=1), unknown

    def observed(self, known: Mask) -> Mask:
        """Of values that are known, bool [n, C], their slots: bool [n, T]."""
        return known.take(self._column_of_slot, axis=1)

    def decode(
        self,
        tokens: Tokens,
        numbers: Numbers,
        states: NDArray[np.uint8] | None,
        where: Mask,
        uniform: Callable[[NDArray[np.intp]], Numbers],
    ) -> None:
        """Write what tokens stand for over some of a batch's numbers.

        Args:
            tokens: int32 [n, T].
            numbers: [n, C], written to; not a number where NULL.
            states: [n, C], written to: `NULL_STATE` or `OBSERVED_STATE`; None: nobody asks.
            where: bool [n, C], what is to be written.
            uniform: gives [b, n] uniform numbers for b columns, by their places in the schema:
                where inside of its bin each number is, or which of the categories that share a
                token. Asked once, if there are any such columns.
        """
        at = tokens.take(self._first, axis=1)
        at += self._begin
        # What this takes of binned columns is nothing; they are written over below.
        np.copyto(numbers, self._cells.take(at, mode="clip"), where=where)
        if states is not None:
            np.copyto(states, self._states.take(at, mode="clip"), where=where)
        drawn = where & self._drawn
        if not np.count_nonzero(drawn):
            return
        columns = np.flatnonzero(drawn.any(axis=0))
        inside = uniform(columns)
        if self._folding:
            self._draw_folded(tokens, numbers, where, columns, inside)
            binned = self.binned[columns]
            columns, inside = columns[binned], inside[binned]
            if not len(columns):
                return
        found, nulls = self._bins.decode(tokens, columns.tolist(), inside)
        for column, values, null in zip(columns.tolist(), found, nulls, strict=True):
            here = where[:, column]
            np.copyto(numbers[:, column], np.where(null, np.nan, values), where=here)
            if states is not None:
                np.copyto(states[:, column], null * np.uint8(NULL_STATE), where=here)

    def _draw_folded(
        self,
        tokens: Tokens,
        numbers: Numbers,
        where: Mask,
        columns: NDArray[np.intp],
        uniform: Numbers,
    ) -> None:
        """Write over the labels of rare categories, among what is to be written."""
        for at, inside in zip(columns.tolist(), uniform, strict=True):
            codec = self._folding.get(at)
            if codec is not None:
                token = tokens[:, self._first[at]]
                rows = np.flatnonzero(where[:, at] & (token >= codec.other))
                numbers[rows, at] = codec.drawn_places(token[rows], inside[rows])


class AllAtOnce:
    """What takes all columns of several rows at once; made when it is first asked for.

    Args:
        codecs: of a table's columns.
        layout: of its tokens.
    """

    def __init__(self, codecs: Sequence[ColumnCodec], layout: TokenLayout) -> None:
        self._codecs, self._layout = codecs, layout

    @cached_property
    def bins(self) -> BinnedColumns:
        """Those that are binned."""
        return BinnedColumns(self._codecs, self._layout.first_slot)

    @cached_property
    def rows(self) -> NumberRows:
        """All of them."""
        return NumberRows(self._codecs, self.bins, self._layout)
