"""Edges of a number's bins: between the values of rows, not at them.

A quantile is some row's value, and a release has a thousand per column: salaries, or numbers that
nobody recognised as identifiers. An edge halfway to the next smaller value gives a bin with the
same rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_tables.overrides import MIN_COUNT
from cascade_tables.schema import Column, Kind

# Sources with narrower reals: a number that such a type cannot hold may be rounded out of its bin.
NARROW = {"float": np.float32, "halffloat": np.float16}


def between_rows(column: Column, values: NDArray[Any], at: NDArray[np.intp]) -> NDArray[Any]:
    """Move edges from values of single rows to between rows, so that bins keep the same rows.

    A value that `MIN_COUNT` rows have stays. So does one if the column has no number between it and
    its neighbour: in dense values, a value does not identify a row. The first and the last edge are
    the bounds.

    Args:
        column: of numbers.
        values: increasing float64 or int64 [n], at least one.
        at: increasing indices [k] among them, at least two.
    """
    edges = values[at]
    distinct, counts = np.unique(values, return_counts=True)
    place = np.searchsorted(distinct, edges)
    moved = (counts[place] < MIN_COUNT) & (place > 0)
    moved[[0, -1]] = False
    edge, below = edges[moved], distinct[place[moved] - 1]
    edges[moved] = (_reals if column.kind is Kind.CONTINUOUS else _wholes)(column, below, edge)
    return edges


def _wholes(column: Column, below: NDArray[np.int64], edge: NDArray[np.int64]) -> NDArray[np.int64]:
    # In uint64, where differences of int64 do not overflow.
    step, unsigned = np.uint64(column.step or 1), edge.astype(np.uint64)
    steps = (unsigned - below.astype(np.uint64)) // step
    return (unsigned - steps // np.uint64(2) * step).astype(np.int64)


def _reals(
    column: Column, below: NDArray[np.float64], edge: NDArray[np.float64]
) -> NDArray[np.float64]:
    # Not half of the sum, which may overflow.
    middle = below / 2 + edge / 2
    if column.decimals is not None:
        middle = np.round(middle, column.decimals)
    if column.dtype in NARROW:
        middle = middle.astype(NARROW[column.dtype]).astype(np.float64)
    return np.where((below < middle) & (middle < edge), middle, edge)
