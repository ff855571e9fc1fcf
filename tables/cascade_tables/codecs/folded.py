"""Categories of a column that share one token, and how an answer gets one of them back.

A network learns a token for each frequent category and one for all others together. What it draws
for a row may be that last one, but a caller wants a category, not the name of a class: one of those
that share the token is drawn, by frequency. Of the row's other columns the draw knows no more than
that the token was drawn for them; docs/adr/0017 has what that loses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_tables.categories import as_text
from cascade_tables.errors import SchemaError
from cascade_tables.frame import ColumnData
from cascade_tables.schema import Column


class FoldedCategories:
    """Categories that share a column's last token.

    Args:
        categories: each once, most frequent first.
        counts: how often each was seen.
    """

    def __init__(self, categories: Sequence[str], counts: Sequence[int]) -> None:
        self.categories = tuple(categories)
        self.counts = tuple(counts)
        upto = np.cumsum(np.array(counts, np.float64))
        self._shares = upto / upto[-1]

    def __len__(self) -> int:
        return len(self.categories)

    @classmethod
    def fit(cls, column: Column, data: ColumnData) -> FoldedCategories | None:
        """Those of a column's rows that answers may have; None: there are none.

        A category that fewer than `Column.min_count` rows have is left out: it may be a person's
        name, and is kept nowhere.
        """
        if column.other is None or column.min_count is None:
            return None
        counts = Counter(as_text(data.present()))
        for kept in column.categories:
            counts.pop(kept, None)
        often = [(text, count) for text, count in counts.items() if count >= column.min_count]
        often.sort(key=lambda found: (-found[1], found[0]))
        return cls(*zip(*often, strict=True)) if often else None

    def draw(self, uniform: NDArray[np.float64]) -> NDArray[np.intp]:
        """Which category each uniform number of [0, 1) stands for, as places among them."""
        # The last share is 1, which no number reaches.
        return self._shares.searchsorted(uniform, "right")

    def draw_one(self, uniform: float) -> int:
        """`draw` of one number."""
        return int(self._shares.searchsorted(uniform, "right"))

    def to_dict(self) -> dict[str, Any]:
        return {"categories": list(self.categories), "counts": list(self.counts)}

    @classmethod
    def from_dict(cls, column: Column, content: Any) -> FoldedCategories:
        """What `to_dict` gave.

        Raises:
            KeyError, TypeError: it is none.
            SchemaError: it does not fit the column.
        """
        categories, counts = content["categories"], content["counts"]
        fits = 0 < len(categories) == len(counts) and column.other is not None
        texts = all(isinstance(text, str) for text in categories)
        apart = len({*categories, *column.categories, column.other}) == (
            len(categories) + len(column.categories) + 1
        )
        if not (fits and texts and apart and all(type(n) is int and n > 0 for n in counts)):
            raise SchemaError(
                f"column {column.name!r}: {len(categories)} folded categories with "
                f"{len(counts)} counts do not fit it"
            )
        return cls(categories, counts)
