"""Categories of a column that share tokens, and how an answer gets one of them back.

A network has a token for each of a column's most frequent categories. The others share some: those
that are alike in the rest of their rows (see `grouping`) have one together, so that what a network
draws beside a merchant is what goes with merchants like it. A caller wants a category, not the name
of a group: one of those that share the token is drawn, by frequency. Of the row's other columns the
draw knows no more than that the token was drawn for them; docs/adr/0017 has what that loses.

Categories that were not seen often enough to be kept, and those that were not seen at all, have the
first group's token. Where the former are in many rows that group is of none else: what it teaches
is what goes with a category that is hardly known, and an answer has any of the folded ones in its
place. Else it is the group that is most like all of them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_tables.categories import category_counts, groups_of
from cascade_tables.codecs.columns.grouping import Grouping
from cascade_tables.errors import SchemaError
from cascade_tables.frame import Frame
from cascade_tables.schema import Column

Places = NDArray[np.intp]


class FoldedCategories:
    """Categories in groups that have a token each.

    Args:
        categories: k of them, each once, group by group.
        counts: [k], how often each was seen.
        groups: [g], how many categories each group has; None: all are one. The first may have none:
            any of them is drawn for it.

    Attributes:
        begin: [g + 1], the place of each group's first among them, and at the end k.
    """

    def __init__(
        self,
        categories: Sequence[str],
        counts: Sequence[int],
        groups: Sequence[int] | None = None,
    ) -> None:
        self.categories = tuple(categories)
        self._counts = np.array(counts, np.int64)
        sizes = np.array([len(self.categories)] if groups is None else groups, np.intp)
        self.begin = np.cumsum([0, *sizes.tolist()])
        # Group g's shares, cumulated, above g: one search finds a category of any group.
        upto = np.concatenate([[0], np.cumsum(self._counts)])
        before = np.repeat(upto[self.begin[:-1]], sizes)
        rows = np.repeat(np.diff(upto[self.begin]), sizes)
        self._shares = np.repeat(np.arange(len(sizes)), sizes) + (upto[1:] - before) / rows
        self._last = self.begin[1:] - 1
        self._any = upto[1:] / upto[-1] if not sizes[0] else None

    @property
    def groups(self) -> int:
        """How many there are."""
        return len(self._last)

    @classmethod
    def fit(cls, column: Column, frame: Frame, grouping: Grouping) -> FoldedCategories | None:
        """Those of a table's column that answers may have; None: there are none.

        A category that fewer than `Column.min_count` rows have is left out: it may be a person's
        name, and is kept nowhere.
        """
        if column.other is None or column.min_count is None:
            return None
        counts = category_counts(frame[column.name])
        least = min((counts.pop(kept, 0) for kept in column.categories), default=0)
        often = sorted(text for text, count in counts.items() if count >= column.min_count)
        often.sort(key=counts.__getitem__, reverse=True)
        if not often:
            return None
        most = groups_of(column)
        # Rows whose category is kept nowhere have a token of their own if they are as many as those
        # of the rarest category that has one.
        dropped = counts.total() - sum(counts[text] for text in often)
        alone = int(most > 1 and dropped >= least)
        group = alone + grouping.groups(column.name, often, most - alone)
        ordered = [often[place] for place in np.argsort(group, kind="stable").tolist()]
        return cls(ordered, [counts[text] for text in ordered], np.bincount(group).tolist())

    def draw(self, group: NDArray[np.integer[Any]], uniform: NDArray[np.float64]) -> Places:
        """Places, among all, of the categories that uniform numbers of [0, 1) stand for.

        Args:
            group: [n], which group each is of.
            uniform: [n].
        """
        places = self._shares.searchsorted(group + uniform, "right")
        # The sum may be rounded up to where the next group begins.
        places = np.minimum(places, self._last[group])
        if self._any is not None:
            places = np.where(group == 0, self._any.searchsorted(uniform, "right"), places)
        return places

    def draw_one(self, group: int, uniform: float) -> str:
        """The category that `draw` finds for one number."""
        if group == 0 and self._any is not None:
            return self.categories[int(self._any.searchsorted(uniform, "right"))]
        place = int(self._shares.searchsorted(group + uniform, "right"))
        return self.categories[min(place, int(self._last[group]))]

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` restores; one group has no entry, as those had none that were written
        before there were several."""
        content = {"categories": list(self.categories), "counts": self._counts.tolist()}
        return content if self.groups == 1 else content | {"groups": np.diff(self.begin).tolist()}

    @classmethod
    def from_dict(cls, column: Column, content: Any) -> FoldedCategories:
        """What `to_dict` gave.

        Raises:
            KeyError, TypeError: it is none.
            SchemaError: it does not fit the column.
        """
        categories, counts = content["categories"], content["counts"]
        groups = list(content.get("groups", [len(categories)]))
        labels = {*categories, *column.categories, column.other}
        fits = (
            column.other is not None
            and len(groups) > 0
            and all(isinstance(text, str) for text in categories)
            and len(labels) == len(categories) + len(column.categories) + 1
            and all(type(count) is int and count > 0 for count in (*counts, *groups[1:]))
            and type(groups[0]) is int
            and groups[0] >= 0
            and 0 < len(categories) == len(counts) == sum(groups)
            and sum(counts) < 2**63
        )
        if not fits:
            raise SchemaError(
                f"column {column.name!r}: {len(categories)} folded categories with {len(counts)} "
                f"counts in {len(groups)} groups do not fit it"
            )
        return cls(categories, counts, groups)
