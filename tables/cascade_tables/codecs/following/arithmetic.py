"""Computation of numbers from others in their row: if an exact relation holds, the value is the
sum, to the last decimal, whatever was drawn.

A relation that always holds needs no network: one of its drawn columns is computed from the rest.
For a relation that holds in some rows, the network draws a token (see `marks`) that names the
computed column. A computed number may be a part of another sum, so each sum waits until its parts
are final. Columns of few values are not computed, except those that are evident from given ones
(see `evident`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.columns.binned_codec import BinnedCodec
from cascade_tables.codecs.columns.column_codec import ColumnCodec, Tokens
from cascade_tables.codecs.following.evident import Evident, Followed
from cascade_tables.codecs.following.given_marks import GivenMarks
from cascade_tables.codecs.following.solving import Solving
from cascade_tables.codecs.following.solving_row import Number, SolvingRow
from cascade_tables.codecs.following.sums import Cells, Mask, Sum
from cascade_tables.codecs.layout import Mark, TokenLayout
from cascade_tables.schema import Schema

# Up to this many rows are solved one by one: arrays take as long for one as for hundreds.
FEW = 32


class Arithmetic:
    """Computes what follows from exact relations; see the module's docstring.

    Args:
        schema: with the relations.
        codecs: of its columns.
        layout: of its tokens.
        evident: columns that follow if all others of a relation are given.
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
        # Which column of a sum that always holds is computed: the last one drawn, because it was
        # conditioned on all others. A column of few values is computed only if there is no other.
        self._order: dict[int, list[int]] = {}
        for number, each in self._sums.items():
            few = [place in listed for place in each.places]
            turns = [layout.turn[place] for place in each.places]
            by_preference = sorted((few[index], -turns[index], index) for index in range(len(few)))
            self._order[number] = [index for _, _, index in by_preference]
        # By binned column, its coarse slot and its first token that is a bin.
        self._bins: dict[int, tuple[int, int]] = {}
        for place, codec in enumerate(codecs):
            if isinstance(codec, BinnedCodec):
                self._bins[place] = int(layout.first_slot[place]), codec.bins_from
        self._followed = [Followed(schema, codecs, each) for each in evident]
        self._partners = self._connected(len(codecs))
        #: The columns, by their places, apart by what may follow from what.
        self.groups = sorted({tuple(sorted(group)) for group in self._partners})
        self._sums_always = {n: each for n, each in self._sums.items() if each.always}
        self._always = frozenset(place for e in self._sums_always.values() for place in e.places)
        self._may_leave_type = frozenset(
            place
            for each in self._sums_always.values()
            for index, place in enumerate(each.places)
            if each.may_leave_type(index)
        )
        # Columns that something may follow for, or from, without a mark.
        self._untold = self._always.union(*(each.places for each in self._followed))
        first: dict[int, int] = {}
        for mark in marks:
            first[mark.slot] = min(mark.token, first.get(mark.slot, mark.token))
        # By slot with marks, the first mark.
        self._marks_from = tuple(first.items())
        in_order = [mark for number in self._sums for mark in self._marks.get(number, ())]
        self._mark_at = {
            (mark.slot, mark.token): (rank, mark) for rank, mark in enumerate(in_order)
        }
        #: Which relations hold of numbers that are given.
        self.of_given = GivenMarks(schema, layout, self._sums)

    def __bool__(self) -> bool:
        """Return whether there is anything to compute."""
        return bool(self._sums)

    def _connected(self, columns: int) -> tuple[frozenset[int], ...]:
        """Return, by column, itself and the columns that its value may follow from, also
        indirectly.
        """
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
        """Whether numbers may follow in rows without a mark."""
        return bool(self._untold)

    def may_apply(self, row: Sequence[int]) -> bool:
        """Return whether anything may follow in a row of T tokens."""
        return bool(self._untold) or any(row[slot] >= token for slot, token in self._marks_from)

    @property
    def has_evident(self) -> bool:
        """Whether columns of few values may follow, see `evident`: only `solve` handles them."""
        return bool(self._followed)

    def needed(self, places: Sequence[int], tokens: Tokens) -> list[int]:
        """Return the columns needed to compute any of these, including these; empty if nothing
        follows.

        Args:
            places: indices of the wanted columns in the schema.
            tokens: int32 [n, T].
        """
        if not self._sums:
            return []
        group = self._group_of(places)
        if not group & self._untold:
            marked = [mark for mark in self._every_mark if mark.column in group]
            slots, first = [mark.slot for mark in marked], [mark.token for mark in marked]
            if not np.count_nonzero(tokens[:, slots] == first):
                return []
        return sorted(group)

    def needed_of_row(self, places: Sequence[int], row: Sequence[int]) -> list[int]:
        """`needed` of one row of T tokens."""
        group = self._group_of(places)
        if not group & self._untold and not any(
            mark.column in group for _, mark in self._standing(row)
        ):
            return []
        return sorted(group)

    def wider(self, given: Collection[int]) -> frozenset[int]:
        """Return the columns whose source type may be too narrow if numbers of these are given.

        A relation that always holds is kept even beyond the bounds if given numbers require it.
        """
        return self._may_leave_type & self._group_of(list(given))

    def _group_of(self, places: Sequence[int]) -> frozenset[int]:
        """Return the columns of relations that any of these may follow from, also indirectly."""
        return frozenset[int]().union(
            *(self._partners[place] for place in places if len(self._partners[place]) > 1)
        )

    def solve(self, tokens: Tokens, cells: Mapping[int, Cells]) -> None:
        """Overwrite drawn numbers with the values that follow from the others.

        Args:
            tokens: int32 [n, T], as drawn; those of given columns are ignored.
            cells: by index in the schema. Relations with a missing column are skipped.
        """
        if not self._followed:
            rows = self.at_work(tokens, {place: cell.drawn for place, cell in cells.items()})
            if len(rows) <= FEW:
                self._solve_few(rows, tokens, cells)
                return
        for evident in self._followed:
            evident.follow(cells)
        work = Solving(tokens, cells)
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

    def at_work(self, tokens: Tokens, drawn: Mapping[int, Mask | bool]) -> NDArray[np.intp]:
        """Return the rows in which anything may be computed.

        Args:
            tokens: int32 [n, T].
            drawn: for columns that may follow from each other, by index, the rows in which they
                were not given.
        """
        if not self._always.isdisjoint(drawn):
            return np.arange(len(tokens))
        some = {
            place: mask for place, mask in drawn.items() if mask is True or np.count_nonzero(mask)
        }
        marks = [mark for mark in self._every_mark if mark.column in some]
        stands = tokens[:, [mark.slot for mark in marks]] == [mark.token for mark in marks]
        for index, mark in enumerate(marks):
            if (mask := some[mark.column]) is not True:
                stands[:, index] &= mask
        return np.flatnonzero(stands.any(axis=1))

    def _solve_few(
        self, rows: NDArray[np.intp], tokens: Tokens, cells: Mapping[int, Cells]
    ) -> None:
        """Solve row by row, which is faster for a few rows than arrays are."""
        some = [
            (place, cell.values[rows].tolist(), cell.null[rows].tolist(), cell.drawn[rows].tolist())
            for place, cell in cells.items()
        ]
        for index, row in enumerate(rows.tolist()):
            numbers = {
                place: None if null[index] else values[index] for place, values, null, _ in some
            }
            drawn = {place for place, _, _, drawn in some if drawn[index]}
            self.solve_row(tokens[row].tolist(), numbers, drawn)
            for place in drawn:
                if (number := numbers[place]) is not None:
                    cells[place].values[row] = number

    def solve_row(
        self, row: Sequence[int], numbers: MutableMapping[int, Number | None], drawn: Set[int]
    ) -> None:
        """Solve one row in a hundredth of the time; not usable with `has_evident`.

        Args:
            row: T tokens, as drawn.
            numbers: by index in the schema; None: NULL. Modified. Relations with a missing column
                are skipped.
            drawn: indices of the columns that were not given.
        """
        always = {
            number: each
            for number, each in self._sums_always.items()
            if all(place in numbers for place in each.places)
        }
        work = SolvingRow(row, numbers, drawn, self._order, self._bins)
        for _, mark in self._standing(row):
            each = self._sums[mark.relation]
            if mark.column in drawn and all(place in numbers for place in each.places):
                work.plan_marked(mark.relation, each, mark, always.values())
        for number, each in always.items():
            work.plan_always(number, each)
        work.run(self._sums)

    def _standing(self, row: Sequence[int]) -> list[tuple[int, Mark]]:
        """Return the marks of a row, in the order in which they are processed."""
        tokens = ((slot, row[slot]) for slot, first in self._marks_from if row[slot] >= first)
        return sorted(self._mark_at[each] for each in tokens if each in self._mark_at)
