"""`Arithmetic.solve` for one row, in Python numbers.

A real-time call has one row, with a mark or two. With arrays of one element, solving took a
millisecond; this takes some ten microseconds, with the same result. The decisions are those of
`solving`, in the same order: any change must be made in both, and a test compares them row by row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence, Set
from itertools import islice

from cascade_tables.codecs.following.sums import Sum
from cascade_tables.codecs.layout import Mark

Number = float | int


class SolvingRow:
    """The column that each sum computes, and the numbers that are final so far.

    Args:
        row: T tokens.
        numbers: by index in the schema; None: NULL. Modified.
        drawn: indices of the columns that were not given: only these are modified.
        order: of each sum's terms, in which they are tried.
        bins: by binned column, its coarse slot and its first token that is a bin.
    """

    def __init__(
        self,
        row: Sequence[int],
        numbers: MutableMapping[int, Number | None],
        drawn: Set[int],
        order: Mapping[int, Sequence[int]],
        bins: Mapping[int, tuple[int, int]],
    ) -> None:
        self._row, self._numbers, self._drawn = row, numbers, drawn
        self._order, self._bins = order, bins
        # By sum that has yet to compute a column: the index of its term.
        self._pivot: dict[int, int] = {}
        self._planned = set[int]()
        # By column: how many sums have yet to compute it, and how many planned ones contain it.
        self._awaited = dict.fromkeys(numbers, 0)
        self._used = dict.fromkeys(numbers, 0)

    def plan_marked(self, number: int, each: Sum, mark: Mark, always: Collection[Sum]) -> None:
        """See `Solving.plan_marked`, for a mark in the row."""
        if (
            number in self._planned
            or mark.column not in self._drawn
            or self._awaited[mark.column]
            or self._has_null(each)
        ):
            return
        named = each.places.index(mark.column)
        for term in (named, *(other for other in self._order[number] if other != named)):
            place = each.places[term]
            if place in self._bins and self._may_give(place, always):
                self._plan(number, each, term)
                return

    def plan_always(self, number: int, each: Sum) -> None:
        """See `Solving.plan_always`."""
        if number in self._planned or self._has_null(each):
            return
        for only_bins in (True, False):
            for term in self._order[number]:
                place = each.places[term]
                if place not in self._drawn or self._awaited[place]:
                    continue
                if only_bins:
                    slot, first = self._bins.get(place, (0, -1))
                    if first < 0 or self._row[slot] < first:
                        continue
                self._plan(number, each, term)
                return

    def run(self, sums: Mapping[int, Sum]) -> None:
        """See `Solving.run`."""
        while self._pivot:
            given = [number for number in self._pivot if self._give(number, sums[number], True)]
            if not given:
                each = (number for number in self._pivot if self._give(number, sums[number], False))
                given = list(islice(each, 1))
            if not given:
                return
            for number in given:
                del self._pivot[number]

    def _may_give(self, place: int, always: Collection[Sum]) -> bool:
        if place not in self._drawn or self._awaited[place]:
            return False
        for each in always:
            if place in each.places and not self._has_null(each):
                free = sum(p in self._drawn and not self._awaited[p] for p in each.places)
                if free < 2:
                    return False
        return True

    def _has_null(self, each: Sum) -> bool:
        return any(self._numbers[place] is None for place in each.places)

    def _plan(self, number: int, each: Sum, pivot: int) -> None:
        self._pivot[number] = pivot
        self._planned.add(number)
        self._awaited[each.places[pivot]] += 1
        for term in each.terms:
            self._used[term.place] += 1
            if term.place in self._drawn:
                value = self._numbers[term.place]
                assert value is not None
                self._numbers[term.place] = each.rounded_one(term, value)

    def _give(self, number: int, each: Sum, waits: bool) -> bool:
        """Compute a sum's column if its parts are final, or, if it does not wait, if another sum
        also contains the column; return whether it was computed.
        """
        term = self._pivot[number]
        place = each.places[term]
        if waits:
            if any(self._awaited[other] for other in each.places if other != place):
                return False
        elif self._used[place] <= 1:
            return False
        self._write(each, term, self._order[number])
        self._awaited[place] -= 1
        return True

    def _write(self, each: Sum, term: int, order: Sequence[int]) -> None:
        place = each.places[term]
        value, fits, within = each.computed_one(term, self._numbers)
        if within:
            self._numbers[place] = value
            return
        for other in order:
            if other == term or not self._is_free(each, other, term):
                continue
            found, _, good = each.computed_one(other, self._numbers)
            if good:
                self._numbers[each.places[other]] = found
                return
        if each.always and not self._spread(each, term, order) and fits:
            self._numbers[place] = value

    def _is_free(self, each: Sum, other: int, term: int) -> bool:
        place = each.places[other]
        return place in self._drawn and (other == term or self._used[place] == 1)

    def _spread(self, each: Sum, term: int, order: Sequence[int]) -> bool:
        """See `Solving._spread`; return whether the sum now holds."""
        before = {place: self._numbers[place] for place in each.places}
        for other in (term, *(other for other in order if other != term)):
            if self._is_free(each, other, term):
                found, _, good = each.computed_one(other, self._numbers)
                low, high = each.bounds[other]
                self._numbers[each.places[other]] = min(max(found, low), high)
                if good:
                    return True
        self._numbers.update(before)
        return False
