"""Layout of a row's tokens: the parts of a codec that a model needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.columns.column_codec import Role


class Mark(NamedTuple):
    """A token of a coarse slot that says that a relation computes the number from the other
    columns.

    Attributes:
        relation: its index among the schema's.
        column: index in the schema of the computed column.
        slot, token: slot and token of the mark.
        others: the relation's other columns, in order; the mark is possible only if they are known.
        rough: by the coarse token that the number has without a mark, the fine token that it has
            with one: its rough position in the column.
    """

    relation: int
    column: int
    slot: int
    token: int
    others: tuple[int, ...]
    rough: tuple[int, ...]


class CountedNumber(NamedTuple):
    """A column's whole number in the units of a relation.

    Attributes:
        place: of the column in the schema.
        zero_counts: whether a relation may hold for a zero.
        step: the units of the number 1.
    """

    place: int
    zero_counts: bool
    step: int


class WholeMark(NamedTuple):
    """A relation of whole numbers.

    Attributes:
        mark: says that it holds.
        parts: the numbers that it adds, as indices into `counted`.
        signs: 1 or −1 for each.
    """

    mark: Mark
    parts: list[int]
    signs: list[int]


class WholeMarks(NamedTuple):
    """Relations of whole numbers, for code that checks by itself which hold.

    Attributes:
        counted: the numbers that they add.
        marks: for each slot, the first one that holds wins.
    """

    counted: list[CountedNumber]
    marks: list[WholeMark]


@dataclass(frozen=True, eq=False)
class TokenLayout:
    """Token slots of a row, T in all, in the order in which a student draws them.

    Attributes:
        sizes: number of tokens.
        column: index of the schema column that each slot belongs to; a column's slots are adjacent.
            Columns are in the schema's order, except for leading ones.
        role: "value" for a whole column in one token; "coarse" for a bin (or NULL, or a point mass)
            and "fine" for the place inside it, which directly follows. The fine token is 0 if the
            coarse one is not a bin.
        positions: for numbers, float32 [size]: each token's middle rank in [0, 1] among the
            column's values, NaN for NULL; for fine slots the offset inside the bin; None for
            categories and booleans.
        marks: coarse tokens that follow the bins, see `Mark`.
        leading: number of first slots whose columns every tier draws before all others.
    """

    sizes: tuple[int, ...]
    column: tuple[int, ...]
    role: tuple[Role, ...]
    positions: tuple[NDArray[np.float32] | None, ...]
    marks: tuple[Mark, ...] = ()
    leading: int = 0

    @cached_property
    def first_slot(self) -> NDArray[np.intp]:
        """First slot of each column, by its index in the schema: [C]."""
        return np.unique(np.asarray(self.column), return_index=True)[1]

    @cached_property
    def turn(self) -> tuple[int, ...]:
        """Position of each column in the drawing order of the slots, from 0: [C]."""
        return tuple(np.argsort(np.argsort(self.first_slot)).tolist())

    def to_dict(self) -> dict[str, Any]:
        """Return the layout as JSON for a training run; `from_dict` restores it."""
        return {
            "sizes": list(self.sizes),
            "column": list(self.column),
            "role": list(self.role),
            "positions": [
                None if p is None else [None if np.isnan(v) else float(v) for v in p]
                for p in self.positions
            ],
            "marks": [list(mark) for mark in self.marks],
            "leading": self.leading,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TokenLayout:
        """Restore the output of `to_dict`."""
        positions = tuple(
            None
            if p is None
            else np.array([np.nan if v is None else v for v in p], dtype=np.float32)
            for p in content["positions"]
        )
        marks = (
            Mark(relation, column, slot, token, tuple(others), tuple(rough))
            for relation, column, slot, token, others, rough in content.get("marks", ())
        )
        return cls(
            tuple(content["sizes"]),
            tuple(content["column"]),
            tuple(content["role"]),
            positions,
            tuple(marks),
            int(content.get("leading", 0)),
        )
