"""Several rows whose relations are to hold: what is computed from what, and the numbers.

`solving_row` does the same of one row; who changes one changes both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.columns.column_codec import Tokens
from cascade_tables.codecs.following.sums import Cells, Mask, Sum
from cascade_tables.codecs.layout import Mark


class Solving:
    """Which column each sum is to give, row by row, and the numbers as far as they are final."""

    def __init__(self, tokens: Tokens, cells: Mapping[int, Cells]) -> None:
        self._tokens, self._cells = tokens, cells
        rows = len(tokens)
        # By sum: which of its terms is computed, −1: none, or it has been.
        self._pivot: dict[int, NDArray[np.int8]] = {}
        # By column: how many sums are still to give it.
        self._awaited = {place: np.zeros(rows, np.int32) for place in cells}
        # By column: how many planned sums have it.
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
        """A mark says that a relation holds, and names the column that is computed, unless one of
        the sums that always hold and have the column would be left with none to compute: then it is
        another that was drawn and is binned.

        Args:
            number: of the relation.
            each: itself.
            mark: one of its marks.
            order: of its terms, in which others are tried.
            always: the sums that always hold.
            bins: columns that are binned.
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
        """Where a column was drawn that no sum gives, and that each sum which always holds can do
        without: what always holds needs a column, too."""
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
        """Of the columns that were drawn, the first in order that no other sum gives.

        A column that was drawn as a number of its own, a zero or another that many rows have, is
        none if there is another: it says more than a bin does.

        Args:
            number: of the sum.
            each: itself.
            order: of its terms.
            bins: by column, its coarse slot and the first token of it that is a bin.
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
            # Of what was drawn, so that its last decimals are those that the relation has.
            cell = self._cells[term.place]
            changed = rows & cell.drawn
            cell.values[changed] = each.rounded(term, cell.values[changed])

    def run(self, sums: Mapping[int, Sum], order: Mapping[int, Sequence[int]]) -> None:
        """Compute what can be until nothing is left; of sums that wait for each other, the first
        that others wait for goes without waiting."""
        while self._pivot:
            numbers = list(self._pivot)
            if sum(self._step(number, sums[number], order[number], True) for number in numbers):
                continue
            if not any(
                self._step(number, sums[number], order[number], False) for number in numbers
            ):
                return

    def _step(self, number: int, each: Sum, order: Sequence[int], waits: bool) -> int:
        """Compute one sum in the rows where its parts are final, or, if it does not wait, in those
        where another sum has its column; returns how many rows that are."""
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
        """Write a sum's column where it is within its bounds, and else another that was drawn and
        is within its own by what this one was drawn as. Where there is none, a sum that always
        holds is spread over all that were drawn; where that is not enough, since the given numbers
        ask for more, it is kept beyond the bounds. One that was marked is not kept."""
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
        """In which rows a column may be written to while another is computed: nobody has given it,
        and no other sum has it, nor would be changed by it."""
        place = each.places[other]
        alone = np.full(len(rows), other == term) | (self._used[place][rows] == 1)
        return self._cells[place].drawn[rows] & alone

    def _spread(self, each: Sum, term: int, rows: NDArray[np.intp], order: Sequence[int]) -> Mask:
        """Have all columns of a sum that were drawn take up what is too much for any of them: one
        after the other goes to the bound that is nearest to what the others make of it, until one
        is within its own. That finds numbers within all bounds if there are any.

        Returns:
            [m], in which of these rows the sum holds now; the others are as they were.
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
