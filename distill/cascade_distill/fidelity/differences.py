"""Differences of a row's numbers, for a detector that cannot subtract.

A tree tests whether one number is above a bound. It can see that two numbers are equal, or close to
each other, only in their difference.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from cascade_tables import Kind, Schema
from numpy.typing import NDArray

from cascade_distill.fidelity.metric_arrays import Matrix, is_discrete

# Most differences that the detector gets: those of 12 numbers. Its time grows with them; with the
# 190 of credit it took eleven times as long as the plain one.
MOST_DIFFERENCES = 66
# Rows used to choose them, if there are more.
CHOICE_ROWS = 4096
# Two numbers that are equal in this share of those rows come before correlated numbers.
EQUAL_SHARE = 0.01
# Reals below a billion are subtracted to the sixth decimal; digits after it are rounding errors.
DECIMALS = 6


def chosen_pairs(real: Matrix, schema: Schema) -> list[tuple[int, int]]:
    """Choose the pairs of numbers, or of dates, whose differences to use, at most
    `MOST_DIFFERENCES`.

    In a wide table, the pairs that are most often equal in real rows come first, then those whose
    ranks correlate most.

    Args:
        real: float64 [n, C], real rows as `to_matrix` returns them.
        schema: of the table.
    """
    columns = schema.columns
    numbers = [index for index, column in enumerate(columns) if not is_discrete(column)]
    dates = {index for index in numbers if columns[index].kind is Kind.DATETIME}
    pairs = [(a, b) for a, b in combinations(numbers, 2) if (a in dates) == (b in dates)]
    if len(pairs) <= MOST_DIFFERENCES:
        return pairs
    few = real[np.linspace(0, len(real) - 1, min(len(real), CHOICE_ROWS)).astype(int)]
    lowest = np.array([float(column.minimum or 0) for column in columns])
    values = np.round(few + lowest, DECIMALS)
    ranks = pd.DataFrame(few[:, numbers], columns=numbers).rank()
    together = ranks.corr().abs().fillna(0.0).to_numpy()
    place = {number: index for index, number in enumerate(numbers)}

    def worth(pair: tuple[int, int]) -> tuple[float, float]:
        first, second = values[:, pair[0]], values[:, pair[1]]
        equal = float(((first == second) & (first != 0)).mean())
        return (equal if equal >= EQUAL_SHARE else 0.0, together[place[pair[0]], place[pair[1]]])

    return sorted(sorted(pairs, key=worth, reverse=True)[:MOST_DIFFERENCES])


def with_differences(matrix: Matrix, pairs: list[tuple[int, int]]) -> NDArray[np.float64]:
    """Append one column per pair to a table [n, C]; NaN if one of the two is NULL."""
    first, second = ([pair[end] for pair in pairs] for end in (0, 1))
    differences = np.round(matrix[:, first] - matrix[:, second], DECIMALS)
    return np.concatenate([matrix, differences], axis=1)
