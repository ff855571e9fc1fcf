"""How a row's tokens are laid out: what a model has to know of a codec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.columns.column_codec import Role


class Mark(NamedTuple):
    """A token of a coarse slot that says that a number is what a relation makes of the others.

    Attributes:
        relation: its number among the schema's.
        column: whose number it is, by its place in the schema.
        slot, token: where the mark stands, and which token it is.
        others: the relation's other columns, in order; the mark is only for rows that know them.
        rough: by the coarse token that the number has without a mark, the fine token that it has
            with one: where in the column it roughly is.
    """

    relation: int
    column: int
    slot: int
    token: int
    others: tuple[int, ...]
    rough: tuple[int, ...]


class CountedNumber(NamedTuple):
    """A column's whole number as relations count it.

    Attributes:
        place: of the column in the schema.
        zero_counts: whether a relation may hold of a zero.
        step: what the number 1 counts.
    """

    place: int
    zero_counts: bool
    step: int


class WholeMark(NamedTuple):
    """A relation of whole numbers.

    Attributes:
        mark: what says that it holds.
        parts: the numbers that it adds up, by their places among the counted.
        signs: 1 or −1 of each.
    """

    mark: Mark
    parts: list[int]
    signs: list[int]


class WholeMarks(NamedTuple):
    """Relations of whole numbers, for who finds out in his own way which hold.

    Attributes:
        counted: the numbers that they add up.
        marks: of a slot the first that holds is the one that stands.
    """

    counted: list[CountedNumber]
    marks: list[WholeMark]


@dataclass(frozen=True, eq=False)
class TokenLayout:
    """One entry a token slot, T in all, in the order in which a student draws them.

    Attributes:
        sizes: number of tokens.
        column: index of the schema column it belongs to; a column's slots are neighbours. Columns
            are in the schema's order, but for those that lead.
        role: "value" for a whole column in one token; "coarse" for a bin (or NULL, or a point
            mass) and "fine" for the place inside it, which directly follows. The fine token is 0
            where the coarse one is not a bin.
        positions: for numbers, float32 [size]: each token's middle rank in [0, 1] among the
            column's values, NaN for NULL; for fine slots the offset inside the bin; None for
            categories and booleans.
        marks: coarse tokens that follow the bins, see `Mark`.
        leading: so many slots, the first ones, are of columns that every tier draws before all
            others.
    """

    sizes: tuple[int, ...]
    column: tuple[int, ...]
    role: tuple[Role, ...]
    positions: tuple[NDArray[np.float32] | None, ...]
    marks: tuple[Mark, ...] = ()
    leading: int = 0

    @cached_property
    def first_slot(self) -> NDArray[np.intp]:
        """Of each column, by its place in the schema, its first slot: [C]."""
        return np.unique(np.asarray(self.column), return_index=True)[1]

    @cached_property
    def turn(self) -> tuple[int, ...]:
        """Of each column, when it is drawn in the order of the slots, from 0: [C]."""
        return tuple(np.argsort(np.argsort(self.first_slot)).tolist())

    def to_dict(self) -> dict[str, Any]:
        """What a training run keeps of it as JSON; `from_dict` restores it."""
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
        """The layout of which `to_dict` gave the content."""
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
