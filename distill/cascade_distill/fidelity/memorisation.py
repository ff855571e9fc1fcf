"""Detection of synthetic rows that copy training rows.

Two figures are compared with those of real held-out rows. The first is the share of a row's cells
that equal the closest training row: near 1 for a memorised table, and high for any row, even a real
one, in a table of few categories. The second is `metrics.dcr_share`, by distance, which also finds
copies whose numbers were moved a little. A release whose rows exceed the floor by more than a
margin memorises its training rows, and is refused unless the user accepts that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from cascade_tables import Schema
from numpy.typing import NDArray

from cascade_distill.fidelity.metric_arrays import Matrix, is_discrete, to_matrix

Cells = NDArray[np.int16]

# Number of grid values by which a number's cells are compared: as fine as the codec's bins.
GRID = 1_000
# Most rows whose closest row is looked up, and most training rows to search, taken at random. A
# median's standard error is then below .01.
LOOKED_UP, AMONG = 2_000, 200_000
# How far the shares may exceed their floors.
EQUALITY_MARGIN, CLOSER_MARGIN = 0.05, 0.05
EQUALITY, CLOSER = "nearest_equality", "dcr_share"


@dataclass(frozen=True)
class Copy:
    """A synthetic row and the training row with which it shares most cells.

    Attributes:
        equal: number of equal cells, of `columns`.
        columns: of the table.
        learnt_row: the training row's index in the table of training rows.
        values: the synthetic row's values by column.
        differs: the columns in which the two differ, with the training row's value.
    """

    equal: int
    columns: int
    learnt_row: int
    values: Mapping[str, object]
    differs: Mapping[str, object]


def nearest_equality(
    learnt: pd.DataFrame, rows: pd.DataFrame, schema: Schema, seed: int = 0
) -> float:
    """Return the median share of a row's cells that equal those of the closest training row.

    The closest row is the one with most equal cells. Categories and NULL equal themselves; two
    numbers are equal if both are nearest to the same one of at most 1,000 grid values. The grid
    follows the distribution of the training rows, so that a real number that was moved a little is
    still a copy.

    At most 2,000 random rows are looked up, among at most 200,000 random training rows.
    """
    rng = np.random.default_rng(seed)
    known, asked = _sampled(learnt, AMONG, rng), _sampled(rows, LOOKED_UP, rng)
    grids = _grids(known, schema)
    equal, _ = most_equal(_cells(asked, schema, grids), _cells(known, schema, grids))
    return float(np.median(equal)) / len(schema.columns)


def worst_copies(
    learnt: pd.DataFrame, rows: pd.DataFrame, schema: Schema, most: int, seed: int = 0
) -> list[Copy]:
    """Return the rows that share most cells with a training row, most first.

    Rows are looked up as in `nearest_equality`. Several synthetic rows that are closest to the same
    training row count as one, the first.
    """
    rng = np.random.default_rng(seed)
    known, asked = _sampled(learnt, AMONG, rng), _sampled(rows, LOOKED_UP, rng)
    grids = _grids(known, schema)
    codes, others = _cells(asked, schema, grids), _cells(known, schema, grids)
    equal, nearest = most_equal(codes, others)
    found: dict[int, Copy] = {}
    for row in np.argsort(-equal, kind="stable").tolist():
        closest = int(nearest[row])
        if len(found) == most:
            break
        if closest in found:
            continue
        differs = np.flatnonzero(codes[row] != others[closest]).tolist()
        found[closest] = Copy(
            equal=int(equal[row]),
            columns=len(schema.columns),
            learnt_row=int(known.index[closest]),
            values={name: asked[name].iloc[row] for name in schema.names},
            differs={
                name: known[name].iloc[closest]
                for name in (schema.columns[position].name for position in differs)
            },
        )
    return list(found.values())


def most_equal(queries: Cells, rows: Cells) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each query [q, C] how many cells equal its closest row of [n, C], and that row's
    index.
    """
    equal, nearest = np.zeros(len(queries), np.int64), np.zeros(len(queries), np.int64)
    columns = np.ascontiguousarray(rows.T)
    counts = np.empty(len(rows), np.int16)
    for index, query in enumerate(queries):
        counts[:] = 0
        for value, column in zip(query, columns, strict=True):
            counts += column == value
        nearest[index] = counts.argmax()
        equal[index] = counts[nearest[index]]
    return equal, nearest


def margins(columns: int, learnt: int, held_out: int) -> dict[str, float]:
    """Return how far a table's figures may exceed their floors.

    The median share of equal cells moves in steps of one cell, so it may be one cell more. Which of
    two sets of rows is closer depends on chance in the smaller set: for n rows, 1/√n is some three
    standard deviations of the figure for real rows (docs/training.md).
    """
    return {
        f"{EQUALITY}_margin": round(max(EQUALITY_MARGIN, 1 / columns), 4),
        f"{CLOSER}_margin": round(max(CLOSER_MARGIN, 1 / math.sqrt(min(learnt, held_out))), 4),
    }


def beyond_floor(figures: Mapping[str, Mapping[str, float]]) -> list[str] | None:
    """Describe how the rows of a run's student and teacher memorise the training rows.

    Args:
        figures: of "student", "teacher" and "floor", as `evaluation` returns them.

    Returns:
        One sentence per finding; empty if all figures are within their floor and margin. None if
        the figures are missing.
    """
    floor = figures.get("floor", {})
    needed = {EQUALITY, CLOSER, f"{EQUALITY}_margin", f"{CLOSER}_margin"}
    tiers = {tier: found for tier, found in figures.items() if tier != "floor"}
    measured = all({EQUALITY, CLOSER} <= found.keys() for found in tiers.values())
    if not (needed <= floor.keys() and tiers and measured):
        return None
    said = []
    for tier, found in tiers.items():
        allowed = floor[EQUALITY] + floor[f"{EQUALITY}_margin"]
        if found[EQUALITY] > allowed:
            said.append(
                f"a row of the {tier}'s has {found[EQUALITY]:.0%} of its cells in common with a "
                f"row learnt from, a real one that was held out {floor[EQUALITY]:.0%} (medians; "
                f"allowed: up to {allowed:.0%})"
            )
        # Real rows are equally close to either set, whatever the floor's own sampling error.
        even = max(0.5, floor[CLOSER])
        allowed = even + floor[f"{CLOSER}_margin"]
        if found[CLOSER] > allowed:
            said.append(
                f"{found[CLOSER]:.1%} of the {tier}'s rows are closer to a row learnt from than to "
                f"one held out, of real ones {even:.1%} (allowed: up to {allowed:.1%})"
            )
    return said


def _sampled(frame: pd.DataFrame, most: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return at most `most` random rows, in their order."""
    if len(frame) <= most:
        return frame
    return frame.iloc[np.sort(rng.choice(len(frame), most, replace=False))]


def _grids(learnt: pd.DataFrame, schema: Schema) -> list[Matrix]:
    """Return each column's grid values, increasing; empty for discrete columns."""
    matrix = to_matrix(learnt, schema)
    out = []
    for position, column in enumerate(schema.columns):
        values = matrix[:, position]
        grid = np.unique(values[~np.isnan(values)])
        if is_discrete(column):
            grid = np.empty(0)
        elif len(grid) > GRID:
            present = np.sort(values[~np.isnan(values)])
            grid = np.unique(present[np.linspace(0, len(present) - 1, GRID).astype(np.int64)])
        out.append(grid)
    return out


def _cells(frame: pd.DataFrame, schema: Schema, grids: list[Matrix]) -> Cells:
    """Return codes [n, C] that are equal if two cells count as equal; -1 for NULL."""
    matrix = to_matrix(frame, schema)
    out = np.empty(matrix.shape, np.int16)
    for position, grid in enumerate(grids):
        values = matrix[:, position]
        null = np.isnan(values)
        known = np.where(null, 0.0, values)
        if len(grid) == 0:
            # Categories beyond this number count as one, which can only increase equality.
            codes = np.minimum(known, np.iinfo(np.int16).max)
        else:
            above = np.searchsorted(grid, known).clip(0, len(grid) - 1)
            below = (above - 1).clip(0)
            codes = np.where(known - grid[below] < grid[above] - known, below, above)
        out[:, position] = np.where(null, -1, codes)
    return out
