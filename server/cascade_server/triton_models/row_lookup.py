"""All columns of `row` to tokens in one look-up, and those that are listed back; pure.

A column's tokens are a step function of its number. The steps of all columns lie in one table, by
column and then by number: one binary search finds every value of a batch, where Python would ask
each column's codec for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from cascade_proto.cells import ABSENT_STATE, NULL_STATE
from cascade_tables import Column, ColumnData, Kind, ValueNotAllowed
from cascade_tables.column_codecs import BinnedCodec, ColumnCodec
from numpy.typing import NDArray

from cascade_server.engines.runtime import Mask, Tokens
from cascade_server.triton_models.row_tensor import RowTensor, States, Values

# Tokens of a number that is not to be looked up: it is wrong, or takes more than a look-up.
NONE = (-1, -1)


class Step(NamedTuple):
    """A column's two tokens of numbers from one on, up to the next step's; 0 is for want of one."""

    number: float
    tokens: tuple[int, int]


def steps(column: Column, codec: ColumnCodec, labels: Sequence[Any]) -> Iterator[Step]:
    """A column's, in increasing order, from minus infinity.

    Args:
        column, codec: which.
        labels: values that are told by their place; none: they are numbers.
    """
    yield Step(-math.inf, NONE)
    before = NONE
    for number, at, above in _known(column, codec, labels):
        if at != before:
            yield Step(number, at)
        if above != at:
            yield Step(math.nextafter(number, math.inf), above)
        before = above


def _known(
    column: Column, codec: ColumnCodec, labels: Sequence[Any]
) -> Iterator[tuple[float, tuple[int, int], tuple[int, int]]]:
    """Numbers that tokens change at, with the tokens there, and of numbers up to the next one."""
    if labels:
        for place, label in enumerate(labels):
            yield float(place), _tokens(codec, label), NONE
        return
    binned = isinstance(codec, BinnedCodec)
    if isinstance(codec, BinnedCodec):
        within = (column.minimum, column.maximum)
        found = {*codec.edges, *column.point_masses, *(each for each in within if each is not None)}
    else:
        found = {value for value in codec.listed or () if value is not None}
    if any(float(number) != number for number in found):
        return  # beyond what floats tell apart
    for number in sorted(found):
        above = NONE
        if binned:
            real = column.kind is Kind.CONTINUOUS
            above = _tokens(codec, math.nextafter(number, math.inf) if real else number + 1)
        yield float(number), _tokens(codec, number), above


def _tokens(codec: ColumnCodec, value: Any) -> tuple[int, int]:
    try:
        found = codec.encode_value(value, [])
    except ValueNotAllowed:
        return NONE
    return (found[0], found[1] if len(found) > 1 else 0)


class RowLookup:
    """A table's rows, as `row` has them, to and from tokens.

    Args:
        row: of the table.
    """

    def __init__(self, row: RowTensor) -> None:
        self._row, codec = row, row.codec
        by_column = [
            list(steps(column, each, row.labels(at)))
            for at, (column, each) in enumerate(zip(row.columns, codec.columns, strict=True))
        ]
        every = [step for of in by_column for step in of]
        # NumPy orders complex numbers by their real parts, then by the imaginary ones. What is not
        # a number comes after all that are: past a last key, of no column.
        self._keys = np.empty(len(every) + 1, np.complex128)
        self._keys.real = np.repeat(np.arange(len(by_column) + 1), [*map(len, by_column), 1])
        self._keys.imag = [*(step.number for step in every), -math.inf]
        # By how many keys a number is not below. Two tokens in an element: they are taken together.
        pairs = [NONE, *(step.tokens for step in every), (0, 0)]
        self._tokens = np.array(pairs, np.int32).view(np.int64)[:, 0]
        self._columns = np.arange(len(by_column), dtype=np.float64)
        whole = [column.kind is not Kind.CONTINUOUS for column in row.columns]
        self._whole = None if all(whole) else np.array(whole)
        self._nullable = np.array([column.nullable for column in row.columns])
        # Where a slot's token is, among two a column.
        self._column_of = np.array(codec.layout.column)
        self._first = np.searchsorted(self._column_of, np.arange(len(by_column)))
        place_in_column = np.arange(len(self._column_of)) - self._first[self._column_of]
        self._pair_of = 2 * self._column_of + place_in_column
        self._slots = [
            slice(at, at + len(each.sizes))
            for at, each in zip(self._first.tolist(), codec.columns, strict=True)
        ]
        self._list_cells()

    def _list_cells(self) -> None:
        """Numbers and states of each token of the columns that are listed."""
        cells, states, begin, end = [np.zeros(1)], [np.zeros(1, np.uint8)], [], 1
        for at, codec in enumerate(self._row.codec.columns):
            begin.append(end)
            if codec.listed is None:
                continue
            every = np.arange(codec.sizes[0], dtype=np.int32)[:, None]
            data = codec.decode(every, np.random.default_rng(0))
            cells.append(self._row.numbers(at, data))
            states.append(np.where(data.null, np.uint8(NULL_STATE), np.uint8(0)))
            end += len(every)
        self._cells, self._states = np.concatenate(cells), np.concatenate(states)
        self._begin = np.array(begin, np.int32)
        self._binned = np.array([codec.listed is None for codec in self._row.codec.columns])

    def encode(self, values: Values, states: States | None) -> tuple[Tokens, Mask] | None:
        """Tokens int32 [n, T], 0 where not known, and what is known, bool [n, T].

        Args:
            values: `row`, [n, C].
            states: what is said of each value, likewise; None: what is not a number is not known.

        Returns:
            None: a value is wrong, or not one of the column's; the codec is to say which.
        """
        if states is not None:
            if ((states == NULL_STATE) > self._nullable).any():
                return None
            values = np.where(states == 0, values, np.nan)
        keys = np.empty(values.shape, np.complex128)
        keys.real, keys.imag = self._columns, values
        pairs = self._tokens.take(self._keys.searchsorted(keys, "right")).view(np.int32)
        fraction = np.floor(values) < values
        if self._whole is not None:
            fraction &= self._whole
        if np.count_nonzero(pairs < 0) or np.count_nonzero(fraction):
            return None
        known = values == values if states is None else states != ABSENT_STATE
        return pairs.take(self._pair_of, axis=1), known.take(self._column_of, axis=1)

    def decode(
        self,
        tokens: Tokens,
        values: Values,
        states: States | None,
        absent: Mask,
        uniform: Callable[[int], NDArray[np.float64]],
    ) -> None:
        """Write what was drawn where nothing is known.

        Args:
            tokens: int32 [n, T].
            values, states: [n, C], written to; nobody wants states that are None.
            absent: where, bool [n, C].
            uniform: n uniform numbers for a column, by its index; asked for in the schema's order,
                of columns that have a place inside a bin.
        """
        at = tokens.take(self._first, axis=1)
        at += self._begin
        # What this takes of columns that have bins is nothing; they are written over below.
        np.copyto(values, self._cells.take(at, mode="clip"), where=absent)
        if states is not None:
            np.copyto(states, self._states.take(at, mode="clip"), where=absent)
        if not np.count_nonzero(absent & self._binned):
            return
        for column in np.flatnonzero(absent.any(axis=0) & self._binned).tolist():
            rng = cast(np.random.Generator, _Drawn(uniform(column)))
            data = self._row.codec.columns[column].decode(tokens[:, self._slots[column]], rng)
            self._put(column, data, absent[:, column], values, states)

    def _put(
        self, column: int, data: ColumnData, where: Mask, values: Values, states: States | None
    ) -> None:
        values[where, column] = self._row.numbers(column, data)[where]
        if states is not None:
            states[where, column] = np.where(data.null, NULL_STATE, 0)[where]


class _Drawn:
    """Numbers that are drawn already, as a generator's."""

    def __init__(self, numbers: NDArray[np.float64]) -> None:
        self._numbers = numbers

    def random(self, count: int) -> NDArray[np.float64]:
        return self._numbers
