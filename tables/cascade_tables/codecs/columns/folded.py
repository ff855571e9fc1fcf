"""Categories of a column that share tokens, and the draw of one of them for an answer.

A network has a token for each of a column's most frequent categories. The others share tokens:
categories with similar rows (see `grouping`) have one together, so that what a network draws beside
a merchant fits similar merchants. A caller wants a category, not the name of a group, so one of
those that share the token is drawn, by frequency. This draw depends on the row's other columns only
through the token; docs/adr/0017 describes what that loses.

Categories that were seen too rarely to be kept, and those that were never seen, have the first
group's token. If the former are in many rows, that group has no other members: it represents hardly
known categories, and an answer has any of the folded ones in its place. Otherwise it is the group
most similar to all of them together.
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
    """Groups of categories that have a token each.

    Args:
        categories: k of them, each once, group by group.
        counts: [k], how often each was seen.
        groups: [g], how many categories each group has; None: a single group. The first may be
            empty: any of the categories is drawn for it.

    Attributes:
        begin: [g + 1], the index of each group's first category, and k at the end.
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
        # Group g's cumulated shares, offset by g: one search finds a category of any group.
        upto = np.concatenate([[0], np.cumsum(self._counts)])
        before = np.repeat(upto[self.begin[:-1]], sizes)
        rows = np.repeat(np.diff(upto[self.begin]), sizes)
        self._shares = np.repeat(np.arange(len(sizes)), sizes) + (upto[1:] - before) / rows
        self._last = self.begin[1:] - 1
        self._any = upto[1:] / upto[-1] if not sizes[0] else None

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self._last)

    @classmethod
    def fit(cls, column: Column, frame: Frame, grouping: Grouping) -> FoldedCategories | None:
        """Return the categories of a table's column that answers may have; None: there are none.

        A category that fewer than `Column.min_count` rows have is left out: it may be a person's
        name, and is stored nowhere.
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
        # Rows whose categories are not stored have a token of their own if they are as many as
        # those of the rarest category with its own token.
        dropped = counts.total() - sum(counts[text] for text in often)
        alone = int(most > 1 and dropped >= least)
        group = alone + grouping.groups(column.name, often, most - alone)
        ordered = [often[place] for place in np.argsort(group, kind="stable").tolist()]
        return cls(ordered, [counts[text] for text in ordered], np.bincount(group).tolist())

    def draw(self, group: NDArray[np.integer[Any]], uniform: NDArray[np.float64]) -> Places:
        """Return the indices, among all categories, for uniform numbers in [0, 1).

        Args:
            group: [n], the group of each.
            uniform: [n].
        """
        places = self._shares.searchsorted(group + uniform, "right")
        # Rounding may push the sum to where the next group begins.
        places = np.minimum(places, self._last[group])
        if self._any is not None:
            places = np.where(group == 0, self._any.searchsorted(uniform, "right"), places)
        return places

    def draw_one(self, group: int, uniform: float) -> str:
        """Return the category that `draw` finds for one number."""
        if group == 0 and self._any is not None:
            return self.categories[int(self._any.searchsorted(uniform, "right"))]
        place = int(self._shares.searchsorted(group + uniform, "right"))
        return self.categories[min(place, int(self._last[group]))]

    def to_dict(self) -> dict[str, Any]:
        """Return the input of `from_dict`; a single group has no entry, as in older files that had
        only one.
        """
        content = {"categories": list(self.categories), "counts": self._counts.tolist()}
        return content if self.groups == 1 else content | {"groups": np.diff(self.begin).tolist()}

    @classmethod
    def from_dict(cls, column: Column, content: Any) -> FoldedCategories:
        """Restore the output of `to_dict`.

        Raises:
            KeyError, TypeError: it is invalid.
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
