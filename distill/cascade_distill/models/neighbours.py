"""Selection of neighbours: numbers whose position on another number's grid sharpens joint draws.

For example, this month's bill is close to last month's, and hardly ever below last month's minus
the payment. A network that sees last month's bill as features of its rank, and draws this month's
bin and then the place inside it, blurs that to some dozens of the 1,024 codes that a number has. So
the network is told the codes that a number's neighbours would have if they were values of its own
column. It can then learn one bias over the distance between a bin and such a code for the whole
grid.

A neighbour is another number, or the sum or difference of two. The rows decide which: the position
of a number relative to its neighbour must be far less random than relative to a neighbour whose
value was exchanged for that of a row close to it in rank. Numbers that merely correlate, which a
network learns without help, are therefore not neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from cascade_tables import Codec, Kind
from cascade_tables.codecs.columns.binned_codec import COARSE, FINE, BinnedCodec
from numpy.typing import NDArray

CODES = COARSE * FINE
# Rows used to choose neighbours.
CHOICE_ROWS = 2_048
# Most neighbours of a number: other numbers, and sums or differences of two.
MOST_NUMBERS, MOST_SUMS = 3, 2
# Least information that a neighbour must give about a number's position, in nats; for a sum, beyond
# what its parts give.
LEAST_NATS = 0.03
# Distance in rank to the exchanged value, as a share of all rows.
EXCHANGED = 1 / 50
# How many candidates to examine: the numbers whose ranks correlate most with a number's; how many
# of the best of these to try in sums; and how many numbers that correlate most with the remaining
# difference to try with each.
LOOKED_AT, SUMS_OF, ADDED = 12, 4, 4
# Boundaries, in codes, of the distance histogram.
BETWEEN = np.array([0.5, 1.5, 2.5, 4.5, 8.5, 16.5, 32.5, 64.5, 128.5, 256.5])
BOUNDS = np.concatenate([-BETWEEN[::-1], BETWEEN])
# The code of a value that is on no grid. Point masses of the column itself get codes of their own,
# so far away that no other code is near them.
UNKNOWN = -1_000_000
MASS_APART = 4_096

# Columns with their signs: one column, or two that are added.
Terms = tuple[tuple[int, int], ...]
# A column and its neighbours.
Chosen = tuple[int, tuple[Terms, ...]]


@dataclass(frozen=True)
class Neighbour:
    """Another number that serves as a neighbour of a number.

    Attributes:
        slot: its coarse slot.
        codes: int64 [pairs], for each pair of its tokens (coarse * fine tokens + fine), the code of
            its value on the target number's grid; see `UNKNOWN` and `MASS_APART`.
    """

    slot: int
    codes: NDArray[np.int64]


@dataclass(frozen=True)
class Sum:
    """A sum or difference of two numbers that serves as a neighbour of a number.

    Attributes:
        slots: their coarse slots.
        signs: 1 or -1 for each.
        values: float32 [pairs] for each, by pair of its tokens; NaN if not known.
    """

    slots: tuple[int, int]
    signs: tuple[int, int]
    values: tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Target:
    """A number with its neighbours.

    Attributes:
        slot: its coarse slot.
        bins_from: its first coarse token that is a bin.
        masses: its first coarse token that is a point mass; point masses end where bins begin.
        edges: float32 [CODES + 1], boundaries between its codes.
        numbers, sums: its neighbours.
    """

    slot: int
    bins_from: int
    masses: int
    edges: NDArray[np.float32]
    numbers: tuple[Neighbour, ...]
    sums: tuple[Sum, ...]


def neighbours_of(codec: Codec, chosen: Sequence[Chosen]) -> tuple[Target, ...]:
    """Build the numbers with their neighbours in the form that networks need.

    Args:
        codec: of the table.
        chosen: columns and their neighbours, as `chosen_neighbours` returns them.
    """
    layout = codec.layout
    targets = []
    for column, neighbours in chosen:
        own = _binned(codec, column)
        numbers, sums = [], []
        for terms in neighbours:
            slots = [layout.column.index(other) for other, _ in terms]
            if len(terms) == 1:
                numbers.append(Neighbour(slots[0], _codes(_binned(codec, terms[0][0]), own)))
                continue
            first, second = (_float32(_values(_binned(codec, other))) for other, _ in terms)
            signs = terms[0][1], terms[1][1]
            sums.append(Sum((slots[0], slots[1]), signs, (first, second)))
        targets.append(
            Target(
                layout.column.index(column),
                own.bins_from,
                own.bins_from - len(own.column.point_masses),
                _float32(np.asarray(own.edges, np.float64)),
                tuple(numbers),
                tuple(sums),
            )
        )
    return tuple(targets)


def chosen_neighbours(codec: Codec, rows: NDArray[Any]) -> list[Chosen]:
    """Choose the columns that have neighbours; list numbers before sums, the most informative
    first.

    Args:
        codec: of the table.
        rows: int [n, T + relations], as the networks learn them; a sample of them is examined.
    """
    picked = np.linspace(0, len(rows) - 1, min(len(rows), CHOICE_ROWS)).astype(int)
    few, layout = np.asarray(rows[picked]), codec.layout
    binned = [c for c, each in enumerate(codec.columns) if isinstance(each, BinnedCodec)]
    values: dict[int, NDArray[np.float64]] = {}
    for column in binned:
        slot = layout.column.index(column)
        pair = few[:, slot] * layout.sizes[slot + 1] + few[:, slot + 1]
        values[column] = _values(_binned(codec, column))[pair]
    ranks = np.stack([_ranks(values[column]) for column in binned]) if binned else np.zeros((0, 1))
    numbers: dict[int, list[Terms]] = {}
    sums: dict[int, list[Terms]] = {}
    for column in binned:
        slot, own = layout.column.index(column), _binned(codec, column)
        in_a_bin = (few[:, slot] >= own.bins_from) & ~np.isnan(values[column])
        alike = [
            other
            for other in _going_with(values[column], ranks, binned)
            if other != column and _is_date(codec, other) == _is_date(codec, column)
        ][:LOOKED_AT]
        seen_by = _Seen(own, values[column], in_a_bin)
        of_one = {other: seen_by.nats(values[other]) for other in alike}
        best = sorted(of_one, key=lambda other: -of_one[other])
        numbers[column] = [
            ((other, 1),) for other in best[:MOST_NUMBERS] if of_one[other] >= LEAST_NATS
        ]
        told: dict[Terms, float] = {}
        for other in [] if _is_date(codec, column) else best[:SUMS_OF]:
            away = _going_with(values[column] - values[other], ranks, binned)
            parts = [each for each in away if each not in (column, other)]
            parts = [each for each in parts if not _is_date(codec, each)][:ADDED]
            for added, signs in product(parts, ((1, 1), (1, -1), (-1, 1))):
                one, two = sorted([(other, signs[0]), (added, signs[1])])
                if (one, two) in told:
                    continue
                said = seen_by.nats(signs[0] * values[other] + signs[1] * values[added])
                alone = max(of_one[other], of_one.get(added, 0.0))
                if said >= LEAST_NATS + alone:
                    told[one, two] = said
        sums[column] = sorted(told, key=lambda each: -told[each])[:MOST_SUMS]
    found = {column: numbers[column] + _rearranged(sums, column) for column in numbers}
    return [(column, tuple(terms)) for column, terms in found.items() if terms]


def _rearranged(sums: dict[int, list[Terms]], column: int) -> list[Terms]:
    """Return a column's own sums and those that follow from other columns' sums: `a` near `b + c`
    also gives `c` near `a - b`.
    """
    out = list(sums[column])
    for total, each in sums.items():
        for terms in each:
            for own, rest in ((terms[0], terms[1]), (terms[1], terms[0])):
                if own[0] == column:
                    turned = sorted([(total, own[1]), (rest[0], -own[1] * rest[1])])
                    out.append((turned[0], turned[1]))
    return list(dict.fromkeys(tuple(sorted(terms)) for terms in out))[: MOST_SUMS + 1]


class _Seen:
    """A column's position relative to possible neighbours.

    Args:
        own: its codec.
        values: float64 [n], NaN for NULL.
        counted: bool [n], the rows that count: those in a bin.
    """

    def __init__(
        self, own: BinnedCodec, values: NDArray[np.float64], counted: NDArray[np.bool_]
    ) -> None:
        self._own, self._rows = own, np.flatnonzero(counted)
        self._codes = _on_grid(own, values[self._rows])

    def nats(self, theirs: NDArray[np.float64]) -> float:
        """Measure how much a neighbour's values [n] say about the number's position, in nats per
        row.

        This is the divergence between the distances to these values and the distances to exchanged
        values.
        """
        there = _on_grid(self._own, theirs[self._rows])
        known = np.flatnonzero(there != UNKNOWN)
        if not len(known):
            return 0.0
        order = known[np.argsort(there[known], kind="stable")]
        step = max(1, round(len(order) * EXCHANGED))
        chance = np.concatenate([order[step:], order[:-step][-step:]])
        exchanged = [(order, order), (order, chance), (chance, order)]
        counts = []
        for mine, neighbour in exchanged:
            distance = self._codes[mine] - there[neighbour]
            found = np.searchsorted(BOUNDS, distance)
            counts.append(np.bincount(found, minlength=len(BOUNDS) + 1) + 0.5)
        p, q = counts[0] / counts[0].sum(), (counts[1] + counts[2]) / (counts[1] + counts[2]).sum()
        return float(len(known) / len(self._rows) * (p * np.log(p / q)).sum())


def _going_with(
    values: NDArray[np.float64], ranks: NDArray[np.float64], columns: Sequence[int]
) -> list[int]:
    """Return columns sorted by how strongly their ranks [C, n] correlate with values [n]."""
    rank = _ranks(values)
    told = np.abs((ranks - ranks.mean(axis=1, keepdims=True)) @ (rank - rank.mean()))
    scale = ranks.std(axis=1)
    told = np.divide(told, scale, out=np.zeros_like(told), where=scale > 0)
    return [columns[at] for at in np.argsort(-told, kind="stable")]


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks of values; unknown values get the middle rank, and equal values get ranks of one
    run.
    """
    order = np.sort(values)
    left, right = np.searchsorted(order, values), np.searchsorted(order, values, "right")
    rank = (left + right) / 2 / len(values)
    return np.where(np.isnan(values), 0.5, rank)


def _binned(codec: Codec, column: int) -> BinnedCodec:
    found = codec.columns[column]
    assert isinstance(found, BinnedCodec)
    return found


def _is_date(codec: Codec, column: int) -> bool:
    return codec.schema.columns[column].kind is Kind.DATETIME


def _float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    limit = float(np.finfo(np.float32).max)
    return values.clip(-limit, limit).astype(np.float32)


def _values(of: BinnedCodec) -> NDArray[np.float64]:
    """Return the middle of the values of each token pair; NaN for NULL and for marks, where only a
    rough range is known.
    """
    pairs = of.pairs
    # Use floating point, where sums of large whole numbers do not overflow.
    middle = np.asarray(pairs.low, np.float64)
    if of.column.kind is Kind.CONTINUOUS:
        middle = middle / 2 + np.asarray(pairs.high, np.float64) / 2
    else:
        middle = middle + (pairs.count.astype(np.float64) - 1) / 2 * float(pairs.step)
    middle[: FINE * int(of.column.nullable)] = np.nan
    # The tokens after the places inside a bin give the rough range of a marked number.
    out = np.full((of.sizes[0], of.sizes[1]), np.nan)
    out[: of.marks_from, :FINE] = middle.reshape(-1, FINE)
    return out.reshape(-1)


def _on_grid(on: BinnedCodec, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the codes of values; values beyond the grid get the outermost code, NaN gets
    `UNKNOWN`.
    """
    codes = (np.searchsorted(on.edges, values, "right") - 1).clip(0, CODES - 1)
    return np.where(np.isnan(values), UNKNOWN, codes)


def _codes(of: BinnedCodec, on: BinnedCodec) -> NDArray[np.int64]:
    """Return, for each token pair of one column, the code of its value on another column's grid."""
    values = _values(of)
    codes = _on_grid(on, values)
    for place, mass in enumerate(on.column.point_masses):
        codes[values == float(mass)] = MASS_APART * (place + 1)
    return codes
