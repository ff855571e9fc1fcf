"""Encoding of callers' rows, in which some columns are known: a single row, or many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.absent import ABSENT, ABSENT_ONLY, HOLES
from cascade_tables.codecs.columns.column_codec import Tokens, stored
from cascade_tables.codecs.columns.outside import Outside, OutsideValues
from cascade_tables.codecs.following.given_marks import GivenMarks
from cascade_tables.codecs.native.row_codec import Compiled
from cascade_tables.codecs.native.wire_row import WireRow
from cascade_tables.codecs.number_rows import EXACT, AllAtOnce
from cascade_tables.codecs.odd_values import NONE_ODD, Odd, alike, all_odd, equal
from cascade_tables.codecs.places import Places, uneven
from cascade_tables.schema import Kind


@dataclass(frozen=True, eq=False)
class Encoded:
    """A caller's rows as tokens, some of whose columns are known.

    Attributes:
        tokens: int32 [n, T]; 0 where not observed.
        observed: bool [n, T], which tokens are known.
        outside: values that were never learnt, and how they were treated; None: there are none.
    """

    tokens: Tokens
    observed: NDArray[np.bool_]
    outside: OutsideValues | None = None

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences for the user about values that were never learnt."""
        return () if self.outside is None else self.outside.notices


class GivenRows:
    """Encoder of rows in which some columns are known.

    Args:
        places: slots of each column.
        at_once: encodes several rows together.
        marks: finds which relations hold among given numbers.
        compiled: encodes a single row from the bytes of its message.
    """

    def __init__(
        self,
        places: Places,
        at_once: AllAtOnce,
        marks: GivenMarks,
        compiled: Compiled,
    ) -> None:
        self._places, self._at_once, self._marks = places, at_once, marks
        self._compiled = compiled
        self._names = places.schema.names
        self._width = sum(len(place.ones) for place in places.values())

    def encode(self, columns: Mapping[str, Sequence[Any]], n: int, strict: bool) -> Encoded:
        """See `Codec.encode_partial`."""
        if n != 1:
            return self._encode_rows(columns, n, strict)
        if isinstance(columns, WireRow):
            encoded = self._encode_wire(columns)
            if encoded is not None:
                return encoded
        # A single row, the most frequent request, is built in Python's own lists: setting single
        # values in them is several times faster than in arrays.
        tokens, observed = [0] * self._width, bytearray(self._width)
        odd: list[Outside] = []
        compared = self._marks.compared
        numbers: dict[int, float | int] = {}
        for name, values in columns.items():
            column, slots, codec, ones, _, _ = self._places[name]
            if len(values) != 1:
                raise uneven(name, values, 1)
            value = values[0]
            if value is not ABSENT:
                tokens[slots] = codec.encode_value(value, odd)
                observed[slots] = ones
                if column in compared:
                    number = stored(codec.column.kind, value)
                    if number is not None:
                        numbers[column] = number
        outside = None
        if odd:
            outside = OutsideValues(1, strict)
            for each in odd:
                name = each.column.name
                outside.add(each, columns[name], (0,))
                if not each.is_known:
                    place = self._places[name]
                    observed[place.slots] = bytes(len(place.ones))
                    numbers.pop(place.column, None)
            outside.refuse()
        # These numbers fit their columns: others were refused or are unknown.
        if len(numbers) > 1:
            self._marks.mark_row(tokens, numbers)
        return Encoded(
            np.array(tokens, np.int32)[None],
            np.frombuffer(observed, np.bool_)[None],
            outside,
        )

    def _encode_wire(self, row: WireRow) -> Encoded | None:
        """Encode a row from a message's bytes in compiled code; None: the message must be parsed
        first.
        """
        compiled = self._compiled.rows
        found = None if compiled is None else compiled.encode(row)
        if found is None:
            return None
        tokens, observed, numbers = found
        if len(numbers) > 1:
            self._marks.mark_row(tokens[0], numbers)
        return Encoded(tokens, observed)

    def _encode_rows(self, columns: Mapping[str, Sequence[Any]], n: int, strict: bool) -> Encoded:
        """Encode several rows: all columns in one lookup, except values that only their own codec
        can handle.
        """
        numbers = np.full((len(self._places), n), np.nan)
        known = np.zeros(numbers.shape, np.bool_)
        odd: dict[str, Odd] = {}
        for name, values in columns.items():
            found = self._put(name, values, numbers, known)
            if found is not NONE_ODD:
                odd[name] = found
        tokens, unknown = self._at_once.rows.encode(numbers.T)
        if unknown is not None:
            for at in np.flatnonzero(unknown.any(axis=0)).tolist():
                name = self._names[at]
                found = odd.get(name, NONE_ODD)
                rows = np.union1d(found.rows, np.flatnonzero(unknown[:, at]))
                odd[name] = found._replace(rows=rows)
        outside = OutsideValues(n, strict) if odd else None
        if outside is not None:
            # In the caller's column order, in which values are reported.
            for name in columns:
                if name in odd:
                    found, column_numbers = odd[name], numbers[self._places[name].column]
                    self._encode_odd(
                        name, columns[name], column_numbers, found, tokens, known, outside
                    )
            outside.refuse()
            outside = outside if outside.totals else None
        if self._marks.compared:
            self._mark_rows(columns, odd, tokens, numbers, known)
        return Encoded(tokens, self._at_once.rows.observed(known.T), outside)

    def _mark_rows(
        self,
        columns: Mapping[str, Sequence[Any]],
        odd: Mapping[str, Odd],
        tokens: Tokens,
        numbers: NDArray[np.float64],
        known: NDArray[np.bool_],
    ) -> None:
        """Mark which relations hold in several rows.

        Rows are handled one by one if they contain whole numbers that float64 cannot distinguish,
        or values that are not among the numbers.

        Args:
            columns: as they were given.
            odd: which of their values are odd, by name.
            tokens: int32 [n, T], modified.
            numbers: [C, n], of the values that are numbers; modified.
            known: bool [C, n].
        """
        compared = [
            (self._places[name], values)
            for name, values in columns.items()
            if self._places[name].column in self._marks.compared
        ]
        apart = np.zeros(numbers.shape[1], np.bool_)
        for place, _ in compared:
            if place.codec.column.kind is not Kind.CONTINUOUS:
                apart |= np.abs(numbers[place.column]) >= EXACT
            found = odd.get(place.codec.column.name, NONE_ODD)
            if found.is_by_value:
                apart[found.rows] = True
        rows = np.flatnonzero(apart)
        numbers[:, rows] = np.nan
        self.mark(tokens, numbers.T)
        for row in rows.tolist():
            own: dict[int, float | int] = {}
            for place, values in compared:
                # NULL and `ABSENT` are no numbers.
                number = stored(place.codec.column.kind, values[row])
                if number is not None and known[place.column, row]:
                    own[place.column] = number
            self._marks.mark_row(tokens[row], own)

    def mark(self, tokens: Tokens, numbers: NDArray[np.float64]) -> None:
        """See `Codec.mark_given`."""
        if self._marks.compared:
            self._marks.mark_rows(tokens, numbers)

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
        """Write tokens [n, T] of a column's odd values, and which are known, [C, n] for all
        columns.

        Values outside the learnt range are recorded.
        """
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
        """Write a column's values as numbers, [C, n] for all columns, and which of them are known.

        Returns:
            The rows whose values the column's codec must handle one by one.

        Raises:
            UnknownColumn, DataError: see `encode_partial`.
        """
        place = self._places[name]
        column, n = place.column, numbers.shape[1]
        if len(values) != n:
            raise uneven(name, values, n)
        kinds = set(map(type, values))
        holes = kinds & HOLES
        rows = self._at_once.rows
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
        # A NaN in the input, or an unknown label, is not a missing value.
        nothing = np.isnan(numbers[column])
        nulls_are_odd = type(None) in holes and not place.nullable
        if np.count_nonzero(nothing) == missing and not nulls_are_odd:
            return NONE_ODD
        at = np.flatnonzero(nothing)
        if holes:
            hole = HOLES if place.nullable else ABSENT_ONLY
            at = at[[type(values[row]) not in hole for row in at.tolist()]]
        return Odd(at, False)
