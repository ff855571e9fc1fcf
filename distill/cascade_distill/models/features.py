"""What a network sees of a number beside its token: where it lies among the others.

A token alone says nothing of order. Each numeric slot's tokens come with their rank in [0, 1]
(`TokenLayout.positions`), and the rank's Fourier features let neighbouring tokens share what is
learnt of them (Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions in
Low Dimensional Domains", NeurIPS 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cascade_tables import TokenLayout
from cascade_tables.codecs.columns.binned_codec import COARSE
from numpy.typing import NDArray

OCTAVES = 6
# The rank itself, sine and cosine an octave, and whether there is a rank at all (NULL has none).
WIDTH = 2 + 2 * OCTAVES
# Of each feature, how many half-waves it makes over all ranks: [WIDTH].
HALF_WAVES = np.concatenate([[0.0], 2.0 ** np.arange(OCTAVES), 2.0 ** np.arange(OCTAVES), [0.0]])


def fourier_features(position: NDArray[np.float32]) -> NDArray[np.float32]:
    """Ranks [m] in [0, 1], NaN for NULL, to features [m, WIDTH]; NULL's are all zero."""
    known = ~np.isnan(position)
    rank = np.where(known, position, 0.0)[:, None].astype(np.float64)
    angle = rank * np.pi * 2.0 ** np.arange(OCTAVES)
    features = np.concatenate(
        [2 * rank - 1, np.sin(angle), np.cos(angle), np.ones_like(rank)], axis=1
    )
    # To half precision and back, as the graph makes them.
    rounded = features.astype(np.float32).astype(np.float16).astype(np.float32)
    return np.where(known[:, None], rounded, 0.0).astype(np.float32)


def numeric_slots(layout: TokenLayout) -> tuple[int, ...]:
    """The slots that hold a number or the coarse part of one."""
    return tuple(
        slot
        for slot, position in enumerate(layout.positions)
        if position is not None and layout.role[slot] != "fine"
    )


def fine_slot_of(layout: TokenLayout, slot: int) -> int | None:
    """The fine slot that belongs to a coarse one; it directly follows."""
    after = slot + 1
    is_coarse = layout.role[slot] == "coarse"
    return after if is_coarse and after < len(layout.role) else None


@dataclass(frozen=True)
class Ranks:
    """Where the numbers of a slot lie among the others, by their tokens, m coarse and f fine ones.

    Attributes:
        middle: float32 [m], of each coarse token the rank in its middle; NaN of NULL and of marks.
        width: float64 [m], of what has a middle: how far its fine tokens spread around it.
        place: float32 [f], where each fine token lies, from -0.5 to 0.5; 0 alone for a slot without
            a fine one.
        marks: the tokens that are marks, and...
        marked: float32 [marks, f], the ranks that these have by fine token; NaN where none.
    """

    middle: NDArray[np.float32]
    width: NDArray[np.float64]
    place: NDArray[np.float32]
    marks: tuple[int, ...]
    marked: NDArray[np.float32]

    def table(self) -> NDArray[np.float32]:
        """Of each pair of tokens, [m, f]."""
        spread = self.middle[:, None] + self.place[None, :] * self.width[:, None]
        ranks: NDArray[np.float32] = spread.clip(0.0, 1.0).astype(np.float32)
        ranks[list(self.marks)] = self.marked
        return ranks


def ranks_of(layout: TokenLayout, slot: int) -> Ranks:
    """Of a numeric slot; a fine token moves the rank inside its bin, whose width is the distance
    to the neighbouring bins' middles."""
    position = layout.positions[slot]
    assert position is not None
    fine = fine_slot_of(layout, slot)
    if fine is None:
        none = np.zeros((0, 1), np.float32)
        return Ranks(position, np.zeros(len(position)), np.zeros(1, np.float32), (), none)
    offset = layout.positions[fine]
    assert offset is not None
    middles = np.sort(position[~np.isnan(position)])
    gaps = np.diff(middles, prepend=0.0, append=1.0)
    where = np.searchsorted(middles, np.nan_to_num(position))
    width = np.minimum(gaps[where.clip(0, len(gaps) - 1)], gaps[(where + 1).clip(0, len(gaps) - 1)])
    marks = [mark for mark in layout.marks if mark.slot == slot]
    marked = np.full((len(marks), len(offset)), np.nan, np.float32)
    for row, mark in zip(marked, marks, strict=True):
        # What is known of a marked number is the part of the column that it is in.
        parts = np.array(mark.rough)
        for part in np.unique(parts):
            row[part] = np.nanmean(position[: len(parts)][parts == part])
    tokens = tuple(mark.token for mark in marks)
    return Ranks(position, width.astype(np.float64), offset - np.float32(0.5), tokens, marked)


def feature_table(layout: TokenLayout, slot: int) -> NDArray[np.float32]:
    """Features of each (coarse, fine) pair of a numeric slot, row `coarse * fine_size + fine`; a
    slot without a fine one has one row a token."""
    return fourier_features(ranks_of(layout, slot).table().reshape(-1))


def embedding_rows(layout: TokenLayout) -> NDArray[np.int64]:
    """The embedding row of each token, slot after slot: [sum(sizes)].

    A token has a row of its own, but for the bins of a number: those share one, and so do the fine
    tokens inside them, because which bin it is the features say. With a row a bin, a network of
    this size learns single rows of a table of tens of thousands by heart. Marks of one relation
    share a row, after all others: that it holds is the same, whichever column is told of it.
    """
    rows: list[NDArray[np.int64]] = []
    start = 0
    for size, role in zip(layout.sizes, layout.role, strict=True):
        marks = sum(mark.slot == len(rows) for mark in layout.marks)
        own = {"value": size, "coarse": size - marks - COARSE + 1, "fine": 1}[role]
        rows.append(start + np.minimum(np.arange(size), own - 1))
        start += own
    relations = sorted({mark.relation for mark in layout.marks})
    for mark in layout.marks:
        rows[mark.slot][mark.token] = start + relations.index(mark.relation)
    return np.concatenate(rows)
