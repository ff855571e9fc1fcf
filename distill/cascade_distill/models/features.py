"""Numeric features that a network receives besides tokens: the rank of each number.

A token alone carries no order. The tokens of each numeric slot therefore come with their rank in
[0, 1] (`TokenLayout.positions`). Fourier features of the rank let neighbouring tokens share what
the network learns (Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions in
Low Dimensional Domains", NeurIPS 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cascade_tables import TokenLayout
from cascade_tables.codecs.columns.binned_codec import COARSE
from numpy.typing import NDArray

OCTAVES = 6
# The rank itself, a sine and a cosine for each octave, and whether there is a rank (NULL has none).
WIDTH = 2 + 2 * OCTAVES
# Number of half-waves that each feature makes over all ranks: [WIDTH].
HALF_WAVES = np.concatenate([[0.0], 2.0 ** np.arange(OCTAVES), 2.0 ** np.arange(OCTAVES), [0.0]])


def fourier_features(position: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map ranks [m] in [0, 1] to features [m, WIDTH]. NULL has rank NaN and all-zero features."""
    known = ~np.isnan(position)
    rank = np.where(known, position, 0.0)[:, None].astype(np.float64)
    angle = rank * np.pi * 2.0 ** np.arange(OCTAVES)
    features = np.concatenate(
        [2 * rank - 1, np.sin(angle), np.cos(angle), np.ones_like(rank)], axis=1
    )
    # Round to half precision and back, as the exported graph does.
    rounded = features.astype(np.float32).astype(np.float16).astype(np.float32)
    return np.where(known[:, None], rounded, 0.0).astype(np.float32)


def numeric_slots(layout: TokenLayout) -> tuple[int, ...]:
    """Return the slots that hold a number or the coarse part of one."""
    return tuple(
        slot
        for slot, position in enumerate(layout.positions)
        if position is not None and layout.role[slot] != "fine"
    )


def fine_slot_of(layout: TokenLayout, slot: int) -> int | None:
    """Return the fine slot of a coarse slot, which directly follows it; None if there is none."""
    after = slot + 1
    is_coarse = layout.role[slot] == "coarse"
    return after if is_coarse and after < len(layout.role) else None


@dataclass(frozen=True)
class Ranks:
    """Ranks of a numeric slot by token, for m coarse and f fine tokens.

    Attributes:
        middle: float32 [m], the rank in the middle of each coarse token; NaN for NULL and marks.
        width: float64 [m], for each coarse token that has a middle, the rank range that its fine
            tokens cover.
        place: float32 [f], position of each fine token, from -0.5 to 0.5; a single 0 for a slot
            without a fine slot.
        marks: the tokens that are marks.
        marked: float32 [marks, f], the rank of each mark by fine token; NaN if it has none.
    """

    middle: NDArray[np.float32]
    width: NDArray[np.float64]
    place: NDArray[np.float32]
    marks: tuple[int, ...]
    marked: NDArray[np.float32]

    def table(self) -> NDArray[np.float32]:
        """Return the rank of each (coarse, fine) pair of tokens, [m, f]."""
        spread = self.middle[:, None] + self.place[None, :] * self.width[:, None]
        ranks: NDArray[np.float32] = spread.clip(0.0, 1.0).astype(np.float32)
        ranks[list(self.marks)] = self.marked
        return ranks


def ranks_of(layout: TokenLayout, slot: int) -> Ranks:
    """Compute the ranks of a numeric slot.

    A fine token moves the rank inside its bin. The width of the bin is the distance between the
    middles of its neighbouring bins.
    """
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
        # For a marked number only its rough part of the column is known.
        parts = np.array(mark.rough)
        for part in np.unique(parts):
            row[part] = np.nanmean(position[: len(parts)][parts == part])
    tokens = tuple(mark.token for mark in marks)
    return Ranks(position, width.astype(np.float64), offset - np.float32(0.5), tokens, marked)


def feature_table(layout: TokenLayout, slot: int) -> NDArray[np.float32]:
    """Return the features of each (coarse, fine) pair of a numeric slot in row `coarse * fine_size
    + fine`; without a fine slot, one row per token.
    """
    return fourier_features(ranks_of(layout, slot).table().reshape(-1))


def embedding_rows(layout: TokenLayout) -> NDArray[np.int64]:
    """Return the embedding row of each token, slot after slot: [sum(sizes)].

    Each token has its own row, except that all bins of a number share one row, and so do the fine
    tokens inside the bins: the features already say which bin it is. With one row per bin, a
    network of this size memorises single rows of a table of tens of thousands. The marks of one
    relation share a row, placed after all others, because the fact that the relation holds is the
    same in every column.
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
