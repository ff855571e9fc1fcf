"""Where the other numbers of a row lie on a number's own grid: what makes joint draws sharp.

This month's bill is last month's and a little more. A network that sees last month's bill as
features of its rank, and draws this month's bin and the place inside it one after the other, blurs
that to some dozens of the 1,024 codes that a number has. So each number that has neighbours, other
numbers whose values are often about the same, is told the code that each of them would have were it
a value of its own column. A bias over the distance of a bin from that code can then be learnt once
for the whole grid.

Which numbers are neighbours, the rows say: those whose values lie within `NEAR` codes far more
often than chance has it, the most frequent first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cascade_tables import Codec, Kind
from cascade_tables.codecs.binned_codec import COARSE, FINE, BinnedCodec
from numpy.typing import NDArray

CODES = COARSE * FINE
# Two numbers are near each other that are no farther apart than that, in codes.
NEAR = 8
# The share of rows, beyond what chance has, in which a neighbour must be near.
LEAST_SHARE = 0.03
# Rows by which neighbours are chosen.
CHOICE_ROWS = 4_096
# Codes of what is on no grid. That of a point mass of the column itself is its own, so far from
# the others that it is near to none of them.
UNKNOWN = -1_000_000
MASS_APART = 4_096


@dataclass(frozen=True)
class Neighbour:
    """Another number that a number is told of.

    Attributes:
        slot: its coarse slot.
        codes: int64 [pairs], by pair of its tokens (coarse * fine tokens + fine) the code that its
            value has on the grid of the number that is told; see `UNKNOWN` and `MASS_APART`.
    """

    slot: int
    codes: NDArray[np.int64]


@dataclass(frozen=True)
class Target:
    """A number that is told of its neighbours.

    Attributes:
        slot: its coarse slot.
        bins_from: its first coarse token that is a bin.
        masses: the first of those that are point masses; they end where bins begin.
        neighbours: the nearest first.
    """

    slot: int
    bins_from: int
    masses: int
    neighbours: tuple[Neighbour, ...]


def neighbours_of(codec: Codec, chosen: Sequence[tuple[int, Sequence[int]]]) -> tuple[Target, ...]:
    """Numbers with their neighbours as networks need them.

    Args:
        codec: of the table.
        chosen: columns and their neighbours', as `chosen_neighbours` gives them.
    """
    layout = codec.layout
    targets = []
    for column, others in chosen:
        own = _binned(codec, column)
        found = tuple(
            Neighbour(layout.column.index(other), _codes(_binned(codec, other), own))
            for other in others
        )
        masses = own.bins_from - len(own.column.point_masses)
        targets.append(Target(layout.column.index(column), own.bins_from, masses, found))
    return tuple(targets)


def chosen_neighbours(
    codec: Codec, rows: NDArray[Any], most: int
) -> list[tuple[int, tuple[int, ...]]]:
    """Columns that have neighbours, and of each at most `most`, the nearest first.

    Args:
        codec: of the table.
        rows: int [n, T + relations], as the networks learn them.
        most: neighbours a column.
    """
    picked = np.linspace(0, len(rows) - 1, min(len(rows), CHOICE_ROWS)).astype(int)
    few, layout = np.asarray(rows[picked]), codec.layout
    binned = [c for c, each in enumerate(codec.columns) if isinstance(each, BinnedCodec)]
    pairs = {}
    for column in binned:
        slot = layout.column.index(column)
        pairs[column] = few[:, slot] * layout.sizes[slot + 1] + few[:, slot + 1]
    shuffled = np.random.default_rng(0).permutation(len(few))
    chosen = []
    for column in binned:
        own = _binned(codec, column)
        mine = _codes(own, own)[pairs[column]]
        in_a_bin = (mine >= 0) & (mine < CODES)
        shares = []
        for other in binned:
            if other == column or _is_date(codec, other) != _is_date(codec, column):
                continue
            theirs = _codes(_binned(codec, other), own)[pairs[other]]
            near, by_chance = (
                float((np.abs(mine - each) <= NEAR)[in_a_bin].mean()) if in_a_bin.any() else 0.0
                for each in (theirs, theirs[shuffled])
            )
            if near - by_chance >= LEAST_SHARE:
                shares.append((by_chance - near, other))
        if shares:
            chosen.append((column, tuple(other for _, other in sorted(shares)[:most])))
    return chosen


def _binned(codec: Codec, column: int) -> BinnedCodec:
    found = codec.columns[column]
    assert isinstance(found, BinnedCodec)
    return found


def _is_date(codec: Codec, column: int) -> bool:
    return codec.schema.columns[column].kind is Kind.DATETIME


def _codes(of: BinnedCodec, on: BinnedCodec) -> NDArray[np.int64]:
    """By pair of tokens of one column, the code of its value on another's grid."""
    pairs, width = of.pairs, of.sizes[1]
    # In floating point, where sums of large whole numbers do not overflow.
    middle = np.asarray(pairs.low, np.float64)
    if of.column.kind is Kind.CONTINUOUS:
        middle = middle / 2 + np.asarray(pairs.high, np.float64) / 2
    else:
        middle = middle + (pairs.count.astype(np.float64) - 1) / 2 * float(pairs.step)
    edges = np.asarray(on.edges, np.float64)
    codes = (np.searchsorted(edges, middle, "right") - 1).clip(0, CODES - 1).astype(np.int64)
    codes[(middle < edges[0]) | (middle > edges[-1])] = UNKNOWN
    for place, mass in enumerate(on.column.point_masses):
        codes[middle == float(mass)] = MASS_APART * (place + 1)
    codes[: FINE * int(of.column.nullable)] = UNKNOWN
    # Of a marked number nothing is known but roughly where it is, and behind the places inside a
    # bin are the tokens that say so.
    out = np.full((of.sizes[0], width), UNKNOWN)
    out[: of.marks_from, :FINE] = codes.reshape(-1, FINE)
    return out.reshape(-1)
