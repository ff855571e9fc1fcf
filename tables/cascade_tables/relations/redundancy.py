"""Relations that follow from others, which are not listed again.

Where a = b and b = c, a = c says nothing new. A formula follows in a row where it is the sum or the
difference of two or three listed ones that hold in that row. A sum follows too where a longer one
holds and what is left out is zero: total = a + b, of total = a + b + c. That two columns are equal
is listed by itself nevertheless (amount = before, where after = before − amount is zero): it is
what rules and models of the rows ask for. So is an equality that follows from such as hold in a
part of the rows, where it holds in many: a network that has drawn a and c before b knows a = b and
b = c too late, unless it knows a = c.
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
MOST_COMPARED = 12
# Columns that may be zero for it to follow.
MOST_ZEROS = 2
# Two columns that are equal in this share of the rows, because of others that are equal to both in
# these, are listed all the same. A third of the share is lost where they are not, of three columns
# in any order: a point of a hundred.
OFTEN_EQUAL = 0.03
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


def listed(
    candidates: Sequence[Candidate], zeros: Mapping[str, Mask], fewest: int, most: int
) -> list[Candidate]:
    """Those that do not follow from others: simple ones first, then frequent ones.

    Args:
        candidates: in any order, each once.
        zeros: bool [n] by column, the rows in which it is the number zero.
        fewest: rows that one must hold in by itself.
        most: that are listed.
    """
    # What holds often implies most, so it comes first among equally long ones.
    order = sorted(
        (each for each in candidates if not _is_part(each, candidates)),
        key=lambda each: (len(each.formula.columns), -int(each.counts.sum()), str(each.formula)),
    )
    out: list[Candidate] = []
    for candidate in order:
        if _own_rows(candidate, out, zeros, fewest) >= fewest:
            out.append(candidate)
        if len(out) == most:
            break
    return out


def _is_part(candidate: Candidate, among: Sequence[Candidate]) -> bool:
    """Whether a sum is a longer one in which nearly always a column is zero where it holds."""
    if len(candidate.coefficients) == 2:
        return False
    part, rows = candidate.coefficients, int(candidate.counts.sum())
    for longer in among:
        whole = longer.coefficients
        if len(whole) <= len(part) or not part.keys() <= whole.keys():
            continue
        if len({part[name] * whole[name] > 0 for name in part}) > 1:
            continue
        if int((candidate.counts & longer.holds).sum()) >= (1 - OWN_SHARE / 2) * rows:
            return True
    return False


def _own_rows(
    candidate: Candidate, among: Sequence[Candidate], zeros: Mapping[str, Mask], fewest: int
) -> int:
    """In how many rows no up to three listed relations that hold imply the candidate; 0 where that
    is too few for it to be listed."""
    fewest = max(fewest, round(OWN_SHARE * int(candidate.counts.sum())))
    columns = set(candidate.coefficients)
    is_often_equal = len(columns) == 2 and candidate.counts.mean() >= OFTEN_EQUAL
    related = [each for each in among if columns & set(each.coefficients)][:MOST_COMPARED]
    implied, own = np.zeros(len(candidate.counts), bool), 0
    for count in (1, 2, 3):
        for several in combinations(related, count):
            if is_often_equal and not any(each.holds.all() for each in several):
                continue
            for rest in _rests(candidate.coefficients, [each.coefficients for each in several]):
                if rest and (len(columns) == 2 or len(rest) > MOST_ZEROS):
                    continue
                holds = [each.holds for each in several]
                implied |= np.logical_and.reduce(holds + [zeros[name] for name in rest])
        own = int((candidate.counts & ~implied).sum())
        if own < fewest:
            return 0
    return own


def _rests(wanted: Mapping[str, int], several: Sequence[Mapping[str, int]]) -> Iterator[list[str]]:
    """Columns that have to be zero for a sum or difference of several to be what is wanted."""
    for signs in product((1, -1), repeat=len(several)):
        total = {name: -coefficient for name, coefficient in wanted.items()}
        for sign, each in zip(signs, several, strict=True):
            for name, coefficient in each.items():
                total[name] = total.get(name, 0) + sign * coefficient
        yield [name for name, coefficient in total.items() if coefficient]
