"""Whether a formula holds far more often than chance has it.

Two things make numbers equal by chance, and each is asked for with the rows themselves:

- values that many rows have (0, 100, 4999): each column's value is *exchanged* for that of a row
  near to it in rank. A heaped value is mostly exchanged for itself, so that what is still equal
  then was equal by habit; a true relation breaks.
- numbers that are close to each other: how often does the sum miss zero by one or two steps? A true
  relation misses by nothing or by a lot.

Columns of few values cannot be exchanged so. Beside two others that can, they are *shuffled*. Of
such columns alone only what nearly always holds is a relation: rows that contradict it must be far
fewer than when a column is shuffled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cascade_tables.relations.measuring import Outcome, outcome
from cascade_tables.relations.whole import Whole

# The least share of the rows that a mixture is worth, and the fewest rows, by number of columns:
# of more columns there are more sums to try.
LEAST_SHARE = 0.01
FEWEST_ROWS = {2: 8, 3: 14, 4: 20}
# It must hold so many times as often as what only comes near.
TIMES_NEAR, TIMES_EXCHANGED = 3, 3
# ... and exceed it by so many standard deviations of a count.
DEVIATIONS = 4
# How near: steps of the sum, and multiples of them, since numbers are round to different digits.
NEAR, ROUND = (-2, -1, 1, 2), (1, 10, 100, 1000)
# Places in rank between which values are exchanged, at least and as a share of the rows: values
# that more rows have than that are heaped.
PLACES, PLACES_SHARE = 5, 0.02
# From this share on it nearly always holds, with at most this share of the contradictions that a
# shuffled column makes, of which there must be enough.
ALMOST_ALWAYS, CONTRADICTIONS, FEWEST_CONTRADICTIONS = 0.95, 0.1, 20


@dataclass(frozen=True, eq=False)
class Term:
    """A column of a sample of rows.

    Attributes:
        column: its name.
        whole: its values.
        exchanged, shuffled: the same with values exchanged and shuffled, as above.
        date: whether they are date-times.
        step: that all differences of values are multiples of.
    """

    column: str
    whole: Whole
    exchanged: Whole
    shuffled: Whole
    date: bool
    step: int

    @classmethod
    def of(cls, column: str, whole: Whole, date: bool, rng: np.random.Generator) -> Term:
        """A column whose values are exchanged and shuffled with a generator of its own."""
        present = np.flatnonzero(whole.known)
        if len(present) == 0:
            return cls(column, whole, whole, whole, date, 1)
        values = whole.values[present]
        # Ties in rank lie in random order, lest neighbours in the table meet.
        order = np.lexsort((rng.random(len(present)), values))
        most = max(PLACES, round(PLACES_SHARE * len(present)))
        away = rng.integers(1, most + 1, len(present)) * rng.choice((-1, 1), len(present))
        rank = np.empty(len(present), np.int64)
        rank[order] = np.arange(len(present))
        nearby = order[(rank + away) % len(present)]
        step = int(np.gcd.reduce(values - values[0])) or 1
        exchanged = _with(whole, present, values[nearby])
        shuffled = _with(whole, present, values[rng.permutation(len(present))])
        return cls(column, whole, exchanged, shuffled, date, step)


def is_relation(terms: Sequence[Term], signs: Sequence[int]) -> Outcome | None:
    """What the signed sum is in each row of a sample, if that is far from chance; else None."""
    found = _outcome(terms, signs)
    rows, counts = int(found.known.sum()), int(found.counts.sum())
    if counts < max(FEWEST_ROWS[len(terms)], LEAST_SHARE * len(found.known)):
        return None
    if _is_mixture(terms, signs, counts, len(found.known)):
        return found
    if int(found.holds.sum()) >= ALMOST_ALWAYS * rows and _is_law(terms, signs, found.violations):
        return found
    return None


def _outcome(terms: Sequence[Term], signs: Sequence[int]) -> Outcome:
    return outcome([term.whole for term in terms], signs, [term.date for term in terms])


def _is_mixture(terms: Sequence[Term], signs: Sequence[int], counts: int, rows: int) -> bool:
    dates = [term.date for term in terms]

    def breaks(term: Term, other: Whole) -> bool:
        wholes = [other if each is term else each.whole for each in terms]
        left = int(outcome(wholes, signs, dates).counts.sum())
        most = max(LEAST_SHARE * rows, DEVIATIONS * float(np.sqrt(left + 1)))
        return counts - left >= most and counts >= TIMES_EXCHANGED * left

    few = [term for term in terms if not breaks(term, term.exchanged)]
    if len(terms) - len(few) < 2 or not all(breaks(term, term.shuffled) for term in few):
        return False
    near = _near(terms, signs)
    return counts >= TIMES_NEAR * near + DEVIATIONS * float(np.sqrt(near + 1))


def _near(terms: Sequence[Term], signs: Sequence[int]) -> float:
    """Rows in which the sum misses zero by a given small number of steps, the most of several."""
    known = np.logical_and.reduce([term.whole.known for term in terms])
    total = np.zeros(len(known), np.int64)
    for term, sign in zip(terms, signs, strict=True):
        total += sign * term.whole.values
    step = int(np.gcd.reduce([term.step for term in terms]))
    missed = total[known]
    return max(
        float(np.mean([(missed == times * each * step).sum() for each in NEAR])) for times in ROUND
    )


def _is_law(terms: Sequence[Term], signs: Sequence[int], violations: int) -> bool:
    dates = [term.date for term in terms]
    for term in terms:
        wholes = [each.shuffled if each is term else each.whole for each in terms]
        by_chance = outcome(wholes, signs, dates).violations
        if by_chance < FEWEST_CONTRADICTIONS or violations > CONTRADICTIONS * by_chance:
            return False
    return True


def _with(whole: Whole, present: NDArray[np.intp], values: NDArray[np.int64]) -> Whole:
    changed = whole.values.copy()
    changed[present] = values
    return replace(whole, values=changed)
