"""Solver for the relations of several rows: which column each sum computes, and the numbers.

`solving_row` does the same for one row; any change must be made in both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.columns.column_codec import Tokens
from cascade_tables.codecs.following.sums import Cells, Mask, Sum
from cascade_tables.codecs.layout import Mark


class Solving:
    """The column that each sum computes, row by row, and the numbers that are final so far."""

    def __init__(self, tokens: Tokens, cells: Mapping[int, Cells]) -> None:
        self._tokens, self._cells = tokens, cells
        rows = len(tokens)
        # By sum: the index of the computed term; −1: none, or it is already computed.
        self._pivot: dict[int, NDArray[np.int8]] = {}
        # By column: how many sums have yet to compute it.
        self._awaited = {place: np.zeros(rows, np.int32) for place in cells}
        # By column: how many planned sums contain it.
        self._used = {place: np.zeros(rows, np.int32) for place in cells}

    def plan_marked(
        self,
        number: int,
        each: Sum,
        mark: Mark,
        order: Sequence[int],
        always: Collection[Sum],
        bins: Collection[int],
    ) -> None:
        """Plan a marked relation, which computes the column with the mark.

        If that would leave a sum that always holds, and contains the column, without a column to
        compute, another drawn and binned column is computed instead.

        Args:
            number: of the relation.
            each: the relation.
            mark: one of its marks.
            order: of its terms, in which others are tried.
            always: the sums that always hold.
            bins: binned columns.
        """
        left = self._cells[mark.column].drawn & (self._tokens[:, mark.slot] == mark.token)
        left &= (self._awaited[mark.column] == 0) & ~self._any_null(each)
        named = each.places.index(mark.column)
        for term in (named, *(other for other in order if other != named)):
            place = each.places[term]
            if not left.any():
                return
            if place not in bins:
                continue
            rows = left & self._may_give(place, always)
            self._plan(number, each, term, rows)
            left &= ~rows

    def _may_give(self, place: int, always: Collection[Sum]) -> Mask:
        """Return where a column was drawn, is computed by no sum, and is dispensable to each sum
        that always holds, because that needs a column to compute too.
        """
        may: Mask = self._cells[place].drawn & (self._awaited[place] == 0)
        for each in always:
            if place in each.places:
                free = [self._cells[p].drawn & (self._awaited[p] == 0) for p in each.places]
                may &= self._any_null(each) | (np.sum(free, axis=0) > 1)
        return may

    def plan_always(
        self,
        number: int,
        each: Sum,
        order: Sequence[int],
        bins: Mapping[int, tuple[int, int]],
    ) -> None:
        """Plan a sum that always holds: it computes the first drawn column in order that no other
        sum computes.

        A column drawn as a point mass, such as zero, is skipped if there is another: it is more
        informative than a bin.

        Args:
            number: of the sum.
            each: the sum.
            order: of its terms.
            bins: by column, its coarse slot and its first token that is a bin.
        """
        left = ~self._any_null(each)
        if number in self._pivot:
            left &= self._pivot[number] < 0
        for only_bins in (True, False):
            for term in order:
                place = each.places[term]
                rows = left & self._cells[place].drawn & (self._awaited[place] == 0)
                if only_bins and place in bins:
                    slot, first = bins[place]
                    rows &= self._tokens[:, slot] >= first
                elif only_bins:
                    continue
                self._plan(number, each, term, rows)
                left &= ~rows

    def _any_null(self, each: Sum) -> Mask:
        nulls: Mask = np.logical_or.reduce([self._cells[place].null for place in each.places])
        return nulls

    def _plan(self, number: int, each: Sum, position: int, rows: Mask) -> None:
        if not rows.any():
            return
        pivot = self._pivot.setdefault(number, np.full(len(self._tokens), -1, np.int8))
        rows &= pivot < 0
        pivot[rows] = position
        self._awaited[each.places[position]] += rows
        for term in each.terms:
            self._used[term.place] += rows
            # Round what was drawn, so that it has the decimals of the relation.
            cell = self._cells[term.place]
            changed = rows & cell.drawn
            cell.values[changed] = each.rounded(term, cell.values[changed])

    def run(self, sums: Mapping[int, Sum], order: Mapping[int, Sequence[int]]) -> None:
        """Compute sums until none is left.

        If sums wait for each other, the first that others wait for is computed without waiting.
        """
        while self._pivot:
            numbers = list(self._pivot)
            if sum(self._step(number, sums[number], order[number], True) for number in numbers):
                continue
            if not any(
                self._step(number, sums[number], order[number], False) for number in numbers
            ):
                return

    def _step(self, number: int, each: Sum, order: Sequence[int], waits: bool) -> int:
        """Compute one sum in the rows where its parts are final, or, if it does not wait, where
        another sum contains its column; return the number of these rows.
        """
        pivot, done = self._pivot[number], 0
        for term, place in enumerate(each.places):
            ready = pivot == term
            if waits:
                for other in each.places:
                    if other != place:
                        ready &= self._awaited[other] == 0
            else:
                ready &= self._used[place] > 1
            rows = np.flatnonzero(ready)
            if not len(rows):
                continue
            self._write(each, term, rows, order)
            pivot[rows] = -1
            self._awaited[place][rows] -= 1
            done += len(rows)
        if not (pivot >= 0).any():
            del self._pivot[number]
        return done

    def _write(self, each: Sum, term: int, rows: NDArray[np.intp], order: Sequence[int]) -> None:
        """Write a sum's column if the result is within its bounds.

        Otherwise, write another drawn column that is within its bounds given this one's drawn
        value. If there is none, a sum that always holds is spread over all drawn columns; if that
        is not enough, because the given numbers require more, it holds beyond the bounds. A marked
        sum is given up.
        """
        place = each.places[term]
        values, fits, within = each.computed(term, self._cells, rows)
        self._cells[place].values[rows[within]] = values[within]
        left = np.flatnonzero(~within)
        for other in order:
            if not len(left):
                return
            tried = left[self._is_free(each, other, term, rows[left])]
            if other == term or not len(tried):
                continue
            instead, _, good = each.computed(other, self._cells, rows[tried])
            self._cells[each.places[other]].values[rows[tried[good]]] = instead[good]
            left = np.setdiff1d(left, tried[good])
        if each.always and len(left):
            left = left[~self._spread(each, term, rows[left], order)]
            beyond = left[fits[left]]
            self._cells[place].values[rows[beyond]] = values[beyond]

    def _is_free(self, each: Sum, other: int, term: int, rows: NDArray[np.intp]) -> Mask:
        """Return the rows in which another column may be written: it was not given, and no other
        sum contains it or would be changed by it.
        """
        place = each.places[other]
        alone = np.full(len(rows), other == term) | (self._used[place][rows] == 1)
        return self._cells[place].drawn[rows] & alone

    def _spread(self, each: Sum, term: int, rows: NDArray[np.intp], order: Sequence[int]) -> Mask:
        """Spread the excess of a sum over all of its drawn columns.

        In turn, each column moves to the bound nearest to the value that the others require, until
        one is within its own bounds. This finds numbers within all bounds if there are any.

        Returns:
            [m], in which of these rows the sum now holds; the others are unchanged.
        """
        before = [self._cells[place].values[rows] for place in each.places]
        left = np.arange(len(rows))
        for other in (term, *(other for other in order if other != term)):
            values = self._cells[each.places[other]].values
            tried = left[self._is_free(each, other, term, rows[left])]
            if len(tried):
                found, _, good = each.computed(other, self._cells, rows[tried])
                values[rows[tried]] = np.clip(found, *each.bounds[other])
                left = np.setdiff1d(left, tried[good])
        for place, old in zip(each.places, before, strict=True):
            self._cells[place].values[rows[left]] = old[left]
        return ~np.isin(np.arange(len(rows)), left)
