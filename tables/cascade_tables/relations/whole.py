"""Numbers and dates as whole numbers, so that sums of them are exact.

Money is stored as binary reals: 0.1 + 0.2 is not 0.3 in them, but 10 + 20 is 30 in tenths. Each
value becomes the whole number of units of its last decimal; a value that is none (a real of which
a sum was saved unrounded is still told from one) takes part in no relation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_tables.frame import ColumnData
from cascade_tables.relation import MOST_DECIMALS

# A column's values have so many decimals if this share of them do.
DECIMALS_SHARE = 0.99
# Beyond this a sum of four of them may not fit 64 bits.
LARGEST = 2.0**61
# Reals that hold the last decimal with room for the rounding of a few additions.
LARGEST_DECIMAL = 2.0**50
# How far from a whole number of last decimals a real may be: the rounding of a few additions, and
# never enough to be taken for another decimal.
ROUNDING, MOST_ROUNDING = 2.0**-47, 1 / 16
NARROW = {"float": np.float32, "halffloat": np.float16}


@dataclass(frozen=True, eq=False)
class Whole:
    """One column as whole numbers.

    Attributes:
        values: int64 [n]; those that are not known are zero.
        known: bool [n], false for NULL, for what is no whole number of units, and for numbers so
            large that sums of them may not fit.
    """

    values: NDArray[np.int64]
    known: NDArray[np.bool_]


def decimals_of(data: ColumnData) -> int | None:
    """The fewest digits behind the point that write nearly all values; None: more than six, or
    single precision that holds no such numbers exactly. Dates and whole numbers have none: 0."""
    if data.values.dtype.kind != "f":
        return 0
    present = ~data.null
    if not present.any():
        return None
    for decimals in range(MOST_DECIMALS + 1):
        if as_whole(data, decimals).known[present].mean() >= DECIMALS_SHARE:
            return decimals
    return None


def as_whole(data: ColumnData, decimals: int | None, unit: int | None = None) -> Whole:
    """A column's values as whole numbers.

    Args:
        data: numbers or date-times.
        decimals: of the numbers; None: the bits of the reals themselves, which are equal where the
            numbers are, and of which no sum means anything.
        unit: the microseconds that the number 1 counts, for numbers that are added to date-times,
            which are microseconds; None: the number 1 is 10^decimals.
    """
    values = data.values
    if values.dtype.kind == "M":
        moments = values.astype("datetime64[us]").astype(np.int64)
        return _kept(moments, ~data.null & (np.abs(moments.astype(np.float64)) < LARGEST))
    if decimals is None:
        return _kept((values.astype(np.float64) + 0.0).view(np.int64), ~data.null)
    scale = 10**decimals
    known = ~data.null
    if values.dtype.kind == "f":
        whole, exact = _rounded(values, scale, data.dtype)
        known = known & exact
        # Every unit of time is a whole number of microseconds to its sixth decimal.
        step = 1 if unit is None else unit // scale
    else:
        whole, step = values.astype(np.int64), scale if unit is None else unit
    known = known & (np.abs(whole.astype(np.float64)) * float(step) < LARGEST)
    return _kept(np.where(known, whole, 0) * step, known)


def whole_moment(microseconds: float | int) -> int | None:
    """`as_whole` of one date-time; None: it is tens of thousands of years away, where sums may not
    fit 64 bits."""
    return int(microseconds) if abs(float(microseconds)) < LARGEST else None


def whole_number(number: float | int, decimals: int, unit: int | None = None) -> int | None:
    """`as_whole` of one number that is no date-time, in double precision; None: it is none."""
    scale = 10**decimals
    if isinstance(number, int):
        nearest, step = number, scale if unit is None else unit
    else:
        step = 1 if unit is None else unit // scale
        scaled = number * scale
        if not abs(scaled) < LARGEST_DECIMAL:
            return None
        nearest = round(scaled)
        off = abs(scaled - nearest)
        if off > min(abs(nearest) * ROUNDING + 2.0**-30, MOST_ROUNDING):
            return None
    return nearest * step if abs(nearest) * float(step) < LARGEST else None


def _rounded(
    values: NDArray[Any], scale: int, dtype: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The whole number of units nearest to each real, and whether the real means that number."""
    fits = np.abs(values) < LARGEST_DECIMAL / scale
    wide = np.where(fits, values, 0.0).astype(np.float64)
    scaled = wide * float(scale)
    nearest = np.rint(scaled)
    exact = fits & (np.abs(nearest) < LARGEST_DECIMAL)
    if dtype in NARROW:
        narrow = NARROW[dtype]
        # In few bits many decimals share a real: then it means none of them.
        alike = (nearest / scale).astype(narrow) == wide.astype(narrow)
        next_one = ((np.abs(nearest) + 1) / scale).astype(narrow)
        exact &= alike & (next_one != np.abs(wide).astype(narrow))
    else:
        off = np.abs(scaled - nearest)
        exact &= off <= np.minimum(np.abs(nearest) * ROUNDING + 2.0**-30, MOST_ROUNDING)
    return np.where(exact, nearest, 0.0).astype(np.int64), exact


def _kept(values: NDArray[np.int64], known: NDArray[np.bool_]) -> Whole:
    return Whole(np.where(known, values, 0), known)
