"""Decoding of tokens: a single row of a real-time call, some columns of many rows, or computed
numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.absent import ABSENT
from cascade_tables.codecs.columns.binned_codec import BinnedCodec
from cascade_tables.codecs.columns.column_codec import Tokens, typed
from cascade_tables.codecs.columns.listed_codec import ListedCodec
from cascade_tables.codecs.following.arithmetic import FEW, Arithmetic
from cascade_tables.codecs.following.solving_row import Number
from cascade_tables.codecs.following.sums import Cells, cells_of, given_number, one_cell
from cascade_tables.codecs.native.row_codec import Compiled
from cascade_tables.codecs.native.wire_row import WireRow
from cascade_tables.codecs.number_rows import AllAtOnce
from cascade_tables.codecs.places import Place, Places
from cascade_tables.frame import ColumnData
from cascade_tables.schema import Kind

# Chooses the place of each number inside its bin: returns uniform numbers [b, n] for b columns, by
# their indices in the schema. `write` and `write_draws` call it more than once, and need the same
# numbers for a column each time.
Inside: TypeAlias = Callable[[Sequence[int]], NDArray[np.float64]]


class DrawnRows:
    """Decoder of rows that a network has drawn given some of their values.

    Args:
        places: of the table's columns.
        at_once: decodes several binned columns.
        arithmetic: computes numbers that follow from others.
        compiled: writes draws of one row for the wire.
    """

    def __init__(
        self,
        places: Places,
        at_once: AllAtOnce,
        arithmetic: Arithmetic,
        compiled: Compiled,
    ) -> None:
        self._places, self._at_once, self._arithmetic = places, at_once, arithmetic
        self._compiled = compiled
        self._schema = places.schema

    def decode(
        self,
        tokens: Tokens,
        rng: np.random.Generator | Inside,
        names: Sequence[str],
        given: Mapping[str, Sequence[Any]] | None,
    ) -> dict[str, ColumnData]:
        """See `Codec.decode_columns`."""
        needed, more = self._followed(names, given or {}, tokens)
        out = self.by_tokens(tokens, rng, [*names, *more])
        for name, cells in self._computed(tokens, needed, given or {}, out.get).items():
            if name in out:
                kind = self._schema[name].kind
                out[name] = ColumnData(typed(kind, cells.values), cells.null, out[name].dtype)
        # Decide by the given columns and not by the numbers: all parts of a job must have the same
        # types.
        for place in self._arithmetic.wider([self._places[name].column for name in given or ()]):
            name = self._schema.names[place]
            if name in out:
                out[name] = replace(out[name], dtype="int64")
        return {name: out[name] for name in names} if more else out

    def decode_one(
        self,
        row: Sequence[int],
        rng: np.random.Generator | Inside,
        names: Sequence[str],
        given: Mapping[str, Sequence[Any]] | None,
    ) -> dict[str, Any]:
        """See `Codec.decode_row`."""
        given = dict(given or {})
        needed: list[int] = []
        every = names
        if self._arithmetic.may_apply(row):
            asked = [self._places[name].column for name in names]
            needed = self._arithmetic.needed_of_row(asked, row)
            every = [*names, *self._undecoded(needed, names, given)]
        places = [self._places[name] for name in every]
        drawn = [place.column for place in places if place.codec.listed is None]
        uniform = iter(_inside(rng, 1)(drawn)[:, 0].tolist() if drawn else ())
        out = {name: _cell(place, row, uniform) for name, place in zip(every, places, strict=True)}
        if not needed:
            return out
        if self._arithmetic.has_evident:
            solved = self._solved_with_arrays(row, needed, given, out)
        else:
            solved = self._given_numbers(needed, given)
            drawn_numbers = {
                place: out[self._schema.names[place]] for place in needed if place not in solved
            }
            solved |= drawn_numbers
            self._arithmetic.solve_row(row, solved, drawn_numbers.keys())
        for place, number in solved.items():
            name = self._schema.names[place]
            if number is not None and name in out:
                out[name] = number
        return {name: out[name] for name in names}

    def _given_numbers(
        self, needed: Sequence[int], given: Mapping[str, Sequence[Any]]
    ) -> dict[int, Number | None]:
        """Return the given numbers of a row among the needed columns, by index."""
        out: dict[int, Number | None] = {}
        for place in needed:
            column = self._schema.columns[place]
            value = given[column.name][0] if column.name in given else ABSENT
            if value is not ABSENT:
                out[place] = given_number(column.kind, value)
        return out

    def _solved_with_arrays(
        self,
        row: Sequence[int],
        needed: Sequence[int],
        given: Mapping[str, Sequence[Any]],
        decoded: Mapping[str, Any],
    ) -> dict[int, Number | None]:
        """Compute the numbers of one row's related columns, including those of few values, by
        index.

        None means NULL.

        Args:
            row: T tokens.
            needed: the columns.
            given: given values of any columns.
            decoded: values of all other columns, from their tokens.
        """

        def cell(name: str) -> ColumnData | None:
            kind = self._schema[name].kind
            return one_cell(kind, decoded[name]) if name in decoded else None

        found = self._computed(np.array(row, np.int32)[None], needed, given, cell)
        return {
            self._schema.names.index(name): None if each.null[0] else each.values[0].item()
            for name, each in found.items()
        }

    def write(
        self, tokens: Tokens, inside: Inside, names: Sequence[str], given: WireRow
    ) -> bytes | None:
        """See `Codec.write_row`."""
        compiled, arithmetic = self._compiled.rows, self._arithmetic
        if compiled is None or arithmetic.has_evident:
            return None
        if not arithmetic.may_follow_untold:
            written = compiled.write(tokens, inside, names, given)
            if written is not None:
                return written
        row = tokens.tolist()
        needed = arithmetic.needed_of_row([self._places[name].column for name in names], row)
        numbers = {}
        if needed:
            missing = self._undecoded(needed, (), given)
            numbers = {
                self._places[name].column: number
                for name, number in self.decode_one(row, inside, missing, given).items()
                if number is not None
            }
        return compiled.write(tokens, inside, names, given, numbers)

    def write_draws(
        self, tokens: Tokens, inside: Inside, names: Sequence[str], given: WireRow
    ) -> bytes | None:
        """See `Codec.write_draws`."""
        compiled, arithmetic = self._compiled.rows, self._arithmetic
        if compiled is None or arithmetic.has_evident:
            return None
        if not arithmetic.may_follow_untold:
            written = compiled.write_draws(tokens, inside, names, given)
            if written is not None:
                return written
        computed: dict[tuple[int, int], Number] = {}
        needed = arithmetic.needed([self._places[name].column for name in names], tokens)
        if needed:
            numbers = self._given_numbers(needed, given)
            missing = [place for place in needed if place not in numbers]
            rows = arithmetic.at_work(tokens, dict.fromkeys(missing, True))
            if len(rows) > FEW:
                return None
            uniform = inside(missing) if len(rows) else np.empty((len(missing), 0))
            places = [self._places[self._schema.names[place]] for place in missing]
            for draw in rows.tolist():
                row, own = tokens[draw].tolist(), uniform[:, draw].tolist()
                drawn: dict[int, Number | None] = {
                    place.column: _cell(place, row, iter((number,)))
                    for place, number in zip(places, own, strict=True)
                }
                solved = numbers | drawn
                arithmetic.solve_row(row, solved, drawn.keys())
                for place in drawn:
                    if (number := solved[place]) is not None:
                        computed[place, draw] = number
        return compiled.write_draws(tokens, inside, names, given, computed)

    def compute(
        self, tokens: Tokens, numbers: NDArray[np.float64], drawn: NDArray[np.bool_]
    ) -> None:
        """See `Codec.compute`."""
        cells = {}
        for place in self._arithmetic.needed(range(len(self._places)), tokens):
            column, values = self._schema.columns[place], numbers[:, place]
            null = np.isnan(values)
            if column.kind is not Kind.CONTINUOUS:
                values = np.where(null, 0, values).astype(np.int64)
            cells[place] = Cells(values, null, drawn[:, place])
        if cells:
            self._arithmetic.solve(tokens, cells)
        for place, cell in cells.items():
            np.copyto(numbers[:, place], cell.values, where=cell.drawn & ~cell.null)

    def by_tokens(
        self, tokens: Tokens, rng: np.random.Generator | Inside, names: Sequence[str]
    ) -> dict[str, ColumnData]:
        """Decode tokens only: no number is computed from others."""
        places = [self._places[name] for name in names]
        drawn = [place for place in places if place.codec.listed is None]
        uniform = _inside(rng, len(tokens))([place.column for place in drawn])
        is_binned = [isinstance(place.codec, BinnedCodec) for place in drawn]
        found: Iterator[tuple[NDArray[Any], NDArray[np.bool_]]] = iter(())
        together = sum(is_binned) > 1
        if together:
            binned = [place.column for place, is_so in zip(drawn, is_binned, strict=True) if is_so]
            inside = uniform if all(is_binned) else uniform[is_binned]
            found = zip(*self._at_once.bins.decode(tokens, binned, inside), strict=True)
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
        """Return the indices of the columns from which numbers of these may follow, including
        these; and the names of those that must be decoded in addition.
        """
        needed = self._arithmetic.needed([self._places[name].column for name in names], tokens)
        return needed, self._undecoded(needed, names, given)

    def _undecoded(
        self, needed: Sequence[int], names: Sequence[str], given: Mapping[str, Sequence[Any]]
    ) -> list[str]:
        """Return the needed columns that are neither among these nor fully given."""
        every = [self._schema.names[place] for place in needed]
        return [
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
        """Compute numbers of columns that may follow from each other, by their indices in the
        schema.

        Args:
            tokens: int32 [n, T].
            needed: the columns.
            given: given values of any columns.
            decoded: returns a column's decoded values; None: it was not decoded.
        """
        cells = {}
        for place in needed:
            column = self._schema.columns[place]
            name = column.name
            cells[place] = cells_of(column, decoded(name), given.get(name), len(tokens))
        if cells:
            self._arithmetic.solve(tokens, cells)
        return {self._schema.names[place]: found for place, found in cells.items()}


def _cell(place: Place, row: Sequence[int], uniform: Iterator[float]) -> Any:
    """Decode a column's value in one row; uses the next uniform number unless the column
    is listed.
    """
    begin, codec = place.slots.start, place.codec
    listed = codec.listed
    if listed is not None:
        return listed[row[begin]]
    if isinstance(codec, ListedCodec):
        return codec.decode_value(row[begin], next(uniform))
    assert isinstance(codec, BinnedCodec)
    return codec.decode_value(row[begin], row[begin + 1], next(uniform))


def _inside(rng: np.random.Generator | Inside, rows: int) -> Inside:
    if not isinstance(rng, np.random.Generator):
        return rng
    return lambda columns: rng.random((len(columns), rows))
