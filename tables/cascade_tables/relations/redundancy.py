"""Relations that follow from others, which are not listed again.

Where a = b and b = c, a = c says nothing new. A formula follows in a row where it is the sum or the
difference of two or three listed ones that hold in that row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from cascade_tables.relation import Formula

Mask = NDArray[np.bool_]
# Listed relations that one more is compared with, those that share columns with it.
MOST_COMPARED = 16
# It is listed if it still holds in this share of its rows where no others imply it.
OWN_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Candidate:
    """A formula that a sample of rows satisfies.

    Attributes:
        formula: what holds.
        coefficients: by column the factor with which it enters the sum that is zero: 1 or −1, or
            the microseconds of a day for a number of days.
        holds: bool [n], where.
        counts: bool [n], where it says something; see `Relation`.
    """

    formula: Formula
    coefficients: Mapping[str, int]
    holds: Mask
    counts: Mask


def listed(candidates: Sequence[Candidate], fewest: int, most: int) -> list[Candidate]:
    """Those that do not follow from others: simple ones first, then frequent ones.

    Args:
        candidates: in any order, each once.
        fewest: rows that one must hold in by itself.
        most: that are listed.
    """
    # What always holds implies without exceptions, so it comes first among equally long ones.
    order = sorted(
        candidates,
        key=lambda each: (len(each.formula.columns), -int(each.counts.sum()), str(each.formula)),
    )
    out: list[Candidate] = []
    for candidate in order:
        own = candidate.counts & ~_implied(candidate, out)
        if int(own.sum()) >= max(fewest, OWN_SHARE * int(candidate.counts.sum())):
            out.append(candidate)
        if len(out) == most:
            break
    return out


def _implied(candidate: Candidate, among: Sequence[Candidate]) -> Mask:
    """Rows in which two or three listed relations that hold imply the candidate."""
    columns = set(candidate.formula.columns)
    related = [each for each in among if columns & set(each.formula.columns)][:MOST_COMPARED]
    wanted = _normal(candidate.coefficients)
    implied = np.zeros(len(candidate.counts), bool)
    for several in (*combinations(related, 2), *combinations(related, 3)):
        if any(total == wanted for total in _sums([each.coefficients for each in several])):
            implied |= np.logical_and.reduce([each.holds for each in several])
    return implied


def _sums(several: Sequence[Mapping[str, int]]) -> Iterator[dict[str, int]]:
    """All sums and differences, without the columns that cancel."""
    for signs in product((1, -1), repeat=len(several) - 1):
        total: dict[str, int] = {}
        for sign, each in zip((1, *signs), several, strict=True):
            for name, coefficient in each.items():
                total[name] = total.get(name, 0) + sign * coefficient
        yield _normal(total)


def _normal(coefficients: Mapping[str, int]) -> dict[str, int]:
    """Equal for a sum and for its negative: the first coefficient is positive."""
    kept = {name: coefficients[name] for name in sorted(coefficients) if coefficients[name]}
    sign = -1 if kept and next(iter(kept.values())) < 0 else 1
    return {name: sign * coefficient for name, coefficient in kept.items()}
