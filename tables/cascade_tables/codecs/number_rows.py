"""Rows as numbers, one per column, and conversion of a whole batch to tokens in one lookup.

A column's tokens are a step function of its number: for a category its index among the column's
labels (`ListedCodec.labels`), for a boolean 0 or 1, for a date-time its microseconds since
1970-01-01 UTC. The steps of all columns lie in one table, sorted by column and then by number, so
that one binary search finds every value of a batch. Otherwise, Python would call each column's
codec for each value.
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

# float64 represents whole numbers below this exactly.
EXACT = 2**53
# Both tokens of a number that matches no step: it is not allowed, or the column's codec must handle
# it.
UNKNOWN = -1
# From this many rows, a search per column is faster than one for all columns.
MANY_ROWS = 64


def is_exact(column: Column) -> bool:
    """Return whether float64 distinguishes all numbers that the column may have."""
    if column.kind not in (Kind.INTEGER, Kind.DATETIME):
        return True
    bounds = (column.minimum, column.maximum)
    return all(bound is not None and -EXACT < bound < EXACT for bound in bounds)


def _steps(codec: ColumnCodec) -> tuple[Numbers, Tokens]:
    """Return the numbers [k] at which a column's tokens change, increasing from minus infinity, and
    the two tokens from each on, [k, 2]; `UNKNOWN` where there are none.
    """
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
            # The label's index, the start of each further group, and the position after the last.
            begin = codec.kept + 1 + (codec.folded.begin[1:-1] if codec.folded else np.zeros(0))
            last = np.nextafter(len(codec.labels) - 1, math.inf)
            points = np.concatenate([points, [codec.kept], begin, [last]])
            shared = np.zeros((len(begin) + 2, 2), np.int32)
            shared[:, 0] = codec.other + np.arange(len(shared))
            shared[-1] = UNKNOWN
            tokens = np.concatenate([tokens, shared])
    return np.concatenate([[-math.inf], points]), np.concatenate([unknown, tokens])


class NumberRows:
    """A table's rows as numbers, with conversion to and from tokens.

    Args:
        codecs: of its columns, C of them.
        bins: of the binned columns.

    Attributes:
        labels: for each column, the values represented by their indices; see `ListedCodec`.
        exact: bool [C], see `is_exact`.
        nullable: bool [C].
        places: for each column, the index of each of its labels.
        binned: bool [C], whether tokens leave open which number of a bin is meant.
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
        # Position of a slot's token, with two tokens per column.
        inside = np.arange(len(layout.column)) - self._first[self._column_of_slot]
        self._token_of_slot = 2 * self._column_of_slot + inside
        self._index_steps()
        self._list_cells()

    def _index_steps(self) -> None:
        """Build the table of all columns' steps; see the module's docstring."""
        by_column = [_steps(codec) for codec in self._codecs]
        self._numbers = [numbers for numbers, _ in by_column]
        ends = np.cumsum([0, *map(len, self._numbers)])
        self._step_of_column = ends[:-1]
        # NumPy orders complex numbers by their real, then by their imaginary parts. NaN sorts after
        # all numbers: past a final key that belongs to no column.
        self._keys = np.empty(ends[-1] + 1, np.complex128)
        lengths = np.array([*map(len, self._numbers), 1])
        self._keys.real = np.repeat(np.arange(len(lengths)), lengths)
        self._keys.imag = np.concatenate([*self._numbers, [-math.inf]])
        self._columns = np.arange(len(by_column), dtype=np.float64)
        # Indexed by the number of keys that a number is not below. Two tokens in one element, taken
        # together.
        before, after = np.full((1, 2), UNKNOWN, np.int32), np.zeros((1, 2), np.int32)
        pairs = np.concatenate([before, *(tokens for _, tokens in by_column), after])
        self._pairs = np.ascontiguousarray(pairs, np.int32).view(np.int64)[:, 0]

    def _list_cells(self) -> None:
        """Store the number and the state of each token of listed columns."""
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
        """Convert a column's values to numbers, float64 [n]; NULL is NaN.

        Args:
            column: its index in the schema.
            data: an unknown category counts as the label for others; without such a label it is
                NaN.
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
        """Encode numbers as tokens int32 [n, T]; 0 where there is no number, which is right for
        NULL too.

        Args:
            numbers: [n, C]; NaN where a value is NULL or not known.

        Returns:
            Also, bool [n, C], which numbers are unknown: their column cannot have them, or its
            codec must handle them. Their tokens mean nothing. None: there are none.
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
        """Expand known values, bool [n, C], to their slots: bool [n, T]."""
        return known.take(self._column_of_slot, axis=1)

    def decode(
        self,
        tokens: Tokens,
        numbers: Numbers,
        states: NDArray[np.uint8] | None,
        where: Mask,
        uniform: Callable[[NDArray[np.intp]], Numbers],
    ) -> None:
        """Overwrite some of a batch's numbers with the values of tokens.

        Args:
            tokens: int32 [n, T].
            numbers: [n, C], modified; NaN where NULL.
            states: [n, C], set to `NULL_STATE` or `OBSERVED_STATE`; None: not needed.
            where: bool [n, C], the values to write.
            uniform: returns [b, n] uniform numbers for b columns, by their indices in the schema:
                the place of each number inside its bin, or the choice among categories that share a
                token. Called once, if there are any such columns.
        """
        at = tokens.take(self._first, axis=1)
        at += self._begin
        # The values taken for binned columns are meaningless; they are overwritten below.
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
        """Overwrite the labels of rare categories among the values to write."""
        for at, inside in zip(columns.tolist(), uniform, strict=True):
            codec = self._folding.get(at)
            if codec is not None:
                token = tokens[:, self._first[at]]
                rows = np.flatnonzero(where[:, at] & (token >= codec.other))
                numbers[rows, at] = codec.drawn_places(token[rows], inside[rows])


class AllAtOnce:
    """Processing of all columns of several rows at once; built on first use.

    Args:
        codecs: of a table's columns.
        layout: of its tokens.
    """

    def __init__(self, codecs: Sequence[ColumnCodec], layout: TokenLayout) -> None:
        self._codecs, self._layout = codecs, layout

    @cached_property
    def bins(self) -> BinnedColumns:
        """The binned columns."""
        return BinnedColumns(self._codecs, self._layout.first_slot)

    @cached_property
    def rows(self) -> NumberRows:
        """All columns."""
        return NumberRows(self._codecs, self.bins, self._layout)
