"""Marks for the exact relations that hold among given numbers.

The network that completes a row must know which relations hold among the given numbers, since
missing numbers are likely to follow from them too. A relation whose columns are all given is marked
in its column that is drawn last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.columns.column_codec import Tokens
from cascade_tables.codecs.following.sums import Mask, Part, Sum, Term
from cascade_tables.codecs.layout import (
    CountedNumber,
    Mark,
    TokenLayout,
    WholeMark,
    WholeMarks,
)
from cascade_tables.relations.measuring import outcome
from cascade_tables.relations.whole import LARGEST, Whole
from cascade_tables.schema import Kind, Schema

# Up to this many rows are marked one by one, which is faster than arrays.
FEW = 16


class _Given(NamedTuple):
    """A relation of given numbers.

    Attributes:
        mark: says that it holds.
        sum: the relation.
        parts: the numbers that it adds, as indices into all such numbers.
    """

    mark: Mark
    sum: Sum
    parts: list[int]


class _Alike(NamedTuple):
    """Relations with equally many columns, m relations of k columns, which are checked together.

    Attributes:
        relations: their indices among all relations.
        parts: int [k, m].
        signs: int64 [k, m, 1].
        dates: bool [k, m, 1].
    """

    relations: list[int]
    parts: NDArray[np.intp]
    signs: NDArray[np.int64]
    dates: Mask


class GivenMarks:
    """Marks the relations that hold among given numbers; see the module's docstring.

    Args:
        schema: of the table.
        layout: of its tokens.
        sums: of its relations, by their index in the schema.

    Attributes:
        compared: indices of columns whose given numbers decide about marks.
    """

    def __init__(self, schema: Schema, layout: TokenLayout, sums: Mapping[int, Sum]) -> None:
        # The numbers that are added, each once, with one sum and the term in it.
        counted: dict[Part, tuple[Sum, Term]] = {}
        last = [
            mark
            for mark in layout.marks
            if layout.turn[mark.column] > max(layout.turn[other] for other in mark.others)
        ]
        for mark in last:
            each = sums[mark.relation]
            for part, term in zip(each.parts(), each.terms, strict=True):
                counted.setdefault(part, (each, term))
        self._parts, self._counted = list(counted), list(counted.values())
        places = {part: index for index, part in enumerate(self._parts)}
        self._relations = [
            _Given(mark, sums[mark.relation], [places[p] for p in sums[mark.relation].parts()])
            for mark in last
        ]
        self._alike = [
            self._together(columns)
            for columns in sorted({len(each.parts) for each in self._relations})
        ]
        self.compared = frozenset(part.place for part in self._parts)
        # Data for `mark_row`: how each number is counted, and the relations of two numbers separate
        # from the others. Sorted by rank: the first mark of a slot wins.
        self._counters = [(part.place, part.counter()) for part in self._parts]
        ranked = list(enumerate(self._relations))
        self._pairs = [(rank, *each.parts) for rank, each in ranked if len(each.parts) == 2]
        self._longer = [(rank, each) for rank, each in ranked if len(each.parts) != 2]
        self._reals = {
            place for place in self.compared if schema.columns[place].kind is Kind.CONTINUOUS
        }

    def _together(self, columns: int) -> _Alike:
        which = [index for index, each in enumerate(self._relations) if len(each.parts) == columns]
        relations = [self._relations[index] for index in which]
        parts = np.array([each.parts for each in relations], np.intp).T
        signs = np.array([each.sum.signs for each in relations], np.int64).T[:, :, None]
        dates = np.array([each.sum.dates for each in relations], np.bool_).T[:, :, None]
        return _Alike(which, parts, signs, dates)

    def of_whole_numbers(self) -> WholeMarks | None:
        """Return the relations if all of them are of whole numbers and date-times; else None."""
        counted = []
        for part in self._parts:
            if part.place in self._reals or part.decimals is None:
                return None
            step = 10**part.decimals if part.unit is None else part.unit
            counted.append(CountedNumber(part.place, part.is_date, 1 if part.is_date else step))
        marks = [WholeMark(each.mark, each.parts, each.sum.signs) for each in self._relations]
        # For two numbers, only equality is checked.
        if any(len(each.parts) == 2 and sum(each.signs) for each in marks):
            return None
        return WholeMarks(counted, marks)

    def mark_row(
        self, tokens: list[int] | NDArray[np.int32], numbers: Mapping[int, float | int]
    ) -> None:
        """Overwrite a row's tokens with the marks of relations that hold among the given numbers.

        Args:
            tokens: T of them.
            numbers: by index, the given numbers of `compared` columns.
        """
        marked = set[int]()
        for rank in sorted(self._holding(numbers)):
            mark = self._relations[rank].mark
            if mark.slot not in marked:
                tokens[mark.slot + 1] = mark.rough[tokens[mark.slot]]
                tokens[mark.slot] = mark.token
                marked.add(mark.slot)

    def _holding(self, numbers: Mapping[int, float | int]) -> list[int]:
        """Return the relations that hold among one row's numbers, given by index."""
        wholes = [
            count(numbers[place]) if place in numbers else None for place, count in self._counters
        ]
        found: list[int] = []
        known = [whole for whole in wholes if whole is not None]
        # Most relations are of two numbers with different signs, which hold if both are equal. In
        # most rows no two are equal, and one check of all numbers shows that.
        if len(set(known)) < len(known):
            for rank, one, other in self._pairs:
                whole = wholes[one]
                if whole is not None and whole == wholes[other]:
                    found.append(rank)
        for rank, each in self._longer:
            added = [whole for part in each.parts if (whole := wholes[part]) is not None]
            if len(added) == len(each.parts) and each.sum.adds_up(added):
                found.append(rank)
        return found

    def mark_rows(self, tokens: Tokens, numbers: NDArray[np.float64]) -> None:
        """Mark several rows as `mark_row` does.

        Args:
            tokens: int32 [n, T].
            numbers: [n, C]; NaN where none is given.
        """
        missing = np.isnan(numbers)
        if len(tokens) <= FEW:
            self._mark_few(tokens, numbers, missing)
            return
        coarse = tokens.copy()
        holds = self._where(numbers, missing)
        # In reverse, because the first mark of a slot wins.
        for index in np.flatnonzero(holds.any(axis=1))[::-1].tolist():
            mark, rows = self._relations[index].mark, holds[index]
            tokens[rows, mark.slot] = mark.token
            tokens[rows, mark.slot + 1] = np.take(mark.rough, coarse[rows, mark.slot])

    def _where(self, numbers: NDArray[np.float64], missing: Mask) -> Mask:
        """Return which relations hold in which rows, bool [relations, n]."""
        wholes = [
            each.whole(term, numbers[:, term.place], missing[:, term.place])
            for each, term in self._counted
        ]
        out = np.zeros((len(self._relations), len(numbers)), np.bool_)
        if not wholes:
            return out
        values = np.stack([whole.values for whole in wholes])
        known = np.stack([whole.known for whole in wholes])
        for alike in self._alike:
            terms = [Whole(values[parts], known[parts]) for parts in alike.parts]
            out[alike.relations] = outcome(terms, list(alike.signs), list(alike.dates)).counts
        return out

    def _mark_few(self, tokens: Tokens, numbers: NDArray[np.float64], missing: Mask) -> None:
        """Mark rows one by one."""
        columns = sorted(self.compared)
        every: Sequence[Sequence[float]] = numbers[:, columns].tolist()
        absent: Sequence[Sequence[bool]] = missing[:, columns].tolist()
        for row in range(len(tokens)):
            given = {
                place: number if place in self._reals else int(number)
                for place, number, is_missing in zip(columns, every[row], absent[row], strict=True)
                # A number that no column of whole numbers can hold is in no sum.
                if not is_missing and (place in self._reals or abs(number) < LARGEST)
            }
            if len(given) > 1:
                self.mark_row(tokens[row], given)
