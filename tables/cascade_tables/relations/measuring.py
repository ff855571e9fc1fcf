"""In how many rows a formula holds: the one definition of it, for finding and for benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_tables.frame import Frame
from cascade_tables.relation import UNITS, Formula
from cascade_tables.relations.whole import Whole, as_whole

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a formula is in each row.

    Attributes:
        known: bool [n], all of its columns are there.
        holds: bool [n], the sum is exact.
        counts: bool [n], it holds, and no part of the sum is zero by itself.
    """

    known: Mask
    holds: Mask
    counts: Mask

    @property
    def share(self) -> float:
        """Of all rows, those that count."""
        return float(self.counts.mean()) if len(self.counts) else 0.0

    @property
    def violations(self) -> int:
        """Rows in which all columns are there and the sum is not exact."""
        return int((self.known & ~self.holds).sum())


def outcome(
    terms: Sequence[Whole], signs: Sequence[int | Ints], dates: Sequence[bool | Mask]
) -> Outcome:
    """What the signed sum of whole numbers is in each row.

    Several sums of as many columns are asked about together where terms are [m, n], a sum a line,
    and signs and dates are [m, 1].

    Args:
        terms: the columns, of equal units, two to four.
        signs: 1 or −1 of each.
        dates: which are date-times, whose zero is a day like any other.
    """
    known = np.logical_and.reduce([term.known for term in terms])
    signed = [sign * term.values for sign, term in zip(signs, terms, strict=True)]
    residual = signed[0] + signed[1]
    for values in signed[2:]:
        residual = residual + values
    holds = known & (residual == 0)
    counts = holds.copy()
    for term, date in zip(terms, dates, strict=True):
        counts &= (term.values != 0) | date
    if len(terms) == 4:
        # Two columns that cancel each other leave two that do.
        for other in (1, 2, 3):
            counts &= signed[0] + signed[other] != 0
    return Outcome(known, holds, counts)


def measure_formula(formula: Formula, decimals: int | None, frame: Frame) -> Outcome:
    """What a formula is in each row of a table: learnt from, held out or synthetic.

    Args:
        formula: of columns that the table has, numbers or date-times.
        decimals: see `Relation`.
        frame: the rows.

    Raises:
        UnknownColumn: the table lacks a column.
    """
    signs: Mapping[str, int] = formula.signs
    unit = UNITS[formula.unit] if formula.unit else None
    columns = [frame[name] for name in signs]
    return outcome(
        [as_whole(data, decimals, unit) for data in columns],
        list(signs.values()),
        [data.values.dtype.kind == "M" for data in columns],
    )
