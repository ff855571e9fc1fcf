"""Numbers that are computed from others of their row: where an exact relation holds, its value is
the sum, to the last decimal, whatever was drawn.

A relation that always holds needs no network: of its columns that were drawn one is computed from
the rest. One that holds in some rows is said to by a token of the network's (see `marks`), which
names the column that is computed. What is computed may itself be a part of another sum, so that
each waits until its parts are final. A number of few values is none that is computed, but for those
that are evident from given ones (see `evident`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.columns.binned_codec import BinnedCodec
from cascade_tables.codecs.columns.column_codec import ColumnCodec, Tokens
from cascade_tables.codecs.evident import Evident, Followed
from cascade_tables.codecs.layout import Mark, TokenLayout
from cascade_tables.codecs.sums import Cells, Mask, Sum
from cascade_tables.schema import Schema


class Arithmetic:
    """Computes what follows from exact relations; see the module's docstring.

    Args:
        schema: whose relations they are.
        codecs: of its columns.
        layout: of its tokens.
        evident: columns that follow where all others of a relation are given.
    """

    def __init__(
        self,
        schema: Schema,
        codecs: Sequence[ColumnCodec],
        layout: TokenLayout,
        evident: Sequence[Evident] = (),
    ) -> None:
        self._every_mark = marks = layout.marks
        self._marks: dict[int, list[Mark]] = {}
        for mark in marks:
            self._marks.setdefault(mark.relation, []).append(mark)
        listed = {place for place, codec in enumerate(codecs) if codec.listed is not None}
        self._sums = {
            number: Sum(relation, schema)
            for number, relation in enumerate(schema.relations)
            if relation.always or number in self._marks
        }
        # Which column of a sum that always holds is computed: the last one drawn, which knew all
        # others, and of those with few values none if there is another.
        self._order: dict[int, list[int]] = {}
        for number, each in self._sums.items():
            few = [place in listed for place in each.places]
            turns = [layout.turn[place] for place in each.places]
            by_preference = sorted((few[at], -turns[at], at) for at in range(len(few)))
            self._order[number] = [at for _, _, at in by_preference]
        # By column that is binned, its coarse slot and the first token of it that is a bin.
        self._bins: dict[int, tuple[int, int]] = {}
        for place, codec in enumerate(codecs):
            if isinstance(codec, BinnedCodec):
                self._bins[place] = int(layout.first_slot[place]), codec.bins_from
        self._followed = [Followed(schema, codecs, each) for each in evident]
        self._partners = self._connected(len(codecs))
        #: The columns, by their places, apart by what may follow from what.
        self.groups = sorted({tuple(sorted(group)) for group in self._partners})
        always = [each for each in self._sums.values() if each.always]
        self._always = frozenset(place for each in always for place in each.places)
        # Columns that something may follow for, or from, of which no token tells.
        self._untold = self._always.union(*(each.places for each in self._followed))
        first: dict[int, int] = {}
        for mark in marks:
            first[mark.slot] = min(mark.token, first.get(mark.slot, mark.token))
        # By slot with marks, the first of them.
        self._marks_from = tuple(first.items())
        # Of each relation, the mark of the column that is drawn last: that is where it stands when
        # all of the columns are given.
        self._given = [
            (mark, self._sums[mark.relation])
            for mark in marks
            if layout.turn[mark.column] > max(layout.turn[other] for other in mark.others)
        ]
        # The numbers that these add up, each once, and of each of them which it adds up.
        self._parts = list(dict.fromkeys(part for _, each in self._given for part in each.parts()))
        index = {part: at for at, part in enumerate(self._parts)}
        self._adding = [
            (mark, each, [index[part] for part in each.parts()]) for mark, each in self._given
        ]
        #: Columns, by place, whose given numbers say whether such a mark stands.
        self.compared = frozenset(place for _, each in self._given for place in each.places)

    def __bool__(self) -> bool:
        """Whether there is anything to compute."""
        return bool(self._sums)

    def _connected(self, columns: int) -> tuple[frozenset[int], ...]:
        """By column, itself and those that its value may follow from, by way of others too."""
        found = [{place} for place in range(columns)]
        changed = True
        while changed:
            changed = False
            for each in self._sums.values():
                together = set[int]().union(*(found[place] for place in each.places))
                for place in each.places:
                    if not together <= found[place]:
                        found[place] |= together
                        changed = True
        return tuple(map(frozenset, found))

    @property
    def may_follow_untold(self) -> bool:
        """Whether numbers may follow in rows of which no token says so."""
        return bool(self._untold)

    def may_apply(self, row: Sequence[int]) -> bool:
        """Whether anything may follow in a row of T tokens."""
        return bool(self._untold) or any(row[slot] >= token for slot, token in self._marks_from)

    def needed(self, places: Sequence[int], tokens: Tokens) -> list[int]:
        """The columns whose numbers are needed to compute any of these, they among them, by their
        places in the schema; none where nothing follows.

        Args:
            places: what is wanted.
            tokens: int32 [n, T].
        """
        if not self._sums:
            return []
        group = frozenset[int]().union(
            *(self._partners[place] for place in places if len(self._partners[place]) > 1)
        )
        if not group & self._untold:
            marked = [mark for mark in self._every_mark if mark.column in group]
            slots, first = [mark.slot for mark in marked], [mark.token for mark in marked]
            if not np.count_nonzero(tokens[:, slots] == first):
                return []
        return sorted(group)

    def mark_row(self, tokens: list[int], numbers: Mapping[int, float | int]) -> None:
        """Write over a row's tokens the marks of relations that hold of what is given.

        Args:
            tokens: T of them.
            numbers: by place, those of `compared` that are given.
        """
        wholes = [
            part.whole(numbers[part.place]) if part.place in numbers else None
            for part in self._parts
        ]
        marked = set[int]()
        for mark, each, parts in self._adding:
            if len(parts) == 2:
                # Most are of two numbers, which nearly always differ; their signs do, too.
                first, second = wholes[parts[0]], wholes[parts[1]]
                if first is None or first != second or mark.slot in marked:
                    continue
            else:
                known = [whole for part in parts if (whole := wholes[part]) is not None]
                if mark.slot in marked or len(known) < len(parts) or not each.adds_up(known):
                    continue
            tokens[mark.slot + 1] = mark.rough[tokens[mark.slot]]
            tokens[mark.slot] = mark.token
            marked.add(mark.slot)

    def mark_rows(self, tokens: Tokens, numbers: NDArray[np.float64]) -> None:
        """`mark_row` of several rows.

        Args:
            tokens: int32 [n, T].
            numbers: [n, C]; not a number where none is given.
        """
        missing = np.isnan(numbers)
        nothing = np.zeros(len(tokens), np.bool_)
        coarse = tokens.copy()
        # The first mark of a slot is the one that stands.
        for mark, each in reversed(self._given):
            if missing[:, each.places].any(axis=1).all():
                continue
            cells = {
                place: Cells(numbers[:, place], missing[:, place], nothing) for place in each.places
            }
            rows = each.outcome(cells).counts
            tokens[rows, mark.slot] = mark.token
            tokens[rows, mark.slot + 1] = np.take(mark.rough, coarse[rows, mark.slot])

    def solve(self, tokens: Tokens, cells: Mapping[int, Cells]) -> None:
        """Write over drawn numbers what follows from the others.

        Args:
            tokens: int32 [n, T], as they were drawn; those of given columns say nothing.
            cells: by place in the schema. Relations of which a column is not there are passed over.
        """
        for evident in self._followed:
            evident.follow(cells)
        work = _Solving(tokens, cells)
        there = {
            number: each
            for number, each in self._sums.items()
            if all(place in cells for place in each.places)
        }
        always = {number: each for number, each in there.items() if each.always}
        for number, each in there.items():
            for mark in self._marks.get(number, ()):
                work.plan_marked(
                    number, each, mark, self._order[number], always.values(), self._bins
                )
        for number, each in always.items():
            work.plan_always(number, each, self._order[number], self._bins)
        work.run(self._sums, self._order)


class _Solving:
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
        for at in (named, *(other for other in order if other != named)):
            place = each.places[at]
            if not left.any():
                return
            if place not in bins:
                continue
            rows = left & self._may_give(place, always)
            self._plan(number, each, at, rows)
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
            for at in order:
                place = each.places[at]
                rows = left & self._cells[place].drawn & (self._awaited[place] == 0)
                if only_bins and place in bins:
                    slot, first = bins[place]
                    rows &= self._tokens[:, slot] >= first
                elif only_bins:
                    continue
                self._plan(number, each, at, rows)
                left &= ~rows

    def _any_null(self, each: Sum) -> Mask:
        nulls: Mask = np.logical_or.reduce([self._cells[place].null for place in each.places])
        return nulls

    def _plan(self, number: int, each: Sum, at: int, rows: Mask) -> None:
        if not rows.any():
            return
        pivot = self._pivot.setdefault(number, np.full(len(self._tokens), -1, np.int8))
        rows &= pivot < 0
        pivot[rows] = at
        self._awaited[each.places[at]] += rows
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
        for at, place in enumerate(each.places):
            ready = pivot == at
            if waits:
                for other in each.places:
                    if other != place:
                        ready &= self._awaited[other] == 0
            else:
                ready &= self._used[place] > 1
            rows = np.flatnonzero(ready)
            if not len(rows):
                continue
            self._write(each, at, rows, order)
            pivot[rows] = -1
            self._awaited[place][rows] -= 1
            done += len(rows)
        if not (pivot >= 0).any():
            del self._pivot[number]
        return done

    def _write(self, each: Sum, at: int, rows: NDArray[np.intp], order: Sequence[int]) -> None:
        """Write a sum's column where it is within its bounds, and else another that was drawn and
        is within its own by what this one was drawn as. Where there is none, a sum that always
        holds is kept beyond the bounds, and one that was marked is not kept."""
        place = each.places[at]
        values, fits, within = each.computed(at, self._cells, rows)
        self._cells[place].values[rows[within]] = values[within]
        left = np.flatnonzero(~within)
        for other in order:
            if not len(left):
                return
            cell = self._cells[each.places[other]]
            # Another sum must not have it, nor be changed by it.
            free = cell.drawn[rows[left]] & (self._used[each.places[other]][rows[left]] == 1)
            tried = left[free]
            if other == at or not len(tried):
                continue
            instead, _, good = each.computed(other, self._cells, rows[tried])
            cell.values[rows[tried[good]]] = instead[good]
            left = np.setdiff1d(left, tried[good])
        if each.always:
            beyond = left[fits[left]]
            self._cells[place].values[rows[beyond]] = values[beyond]
