"""Values of several rows that the shared lookup cannot handle; see `NumberRows.encode`.

Only their column's codec can handle them. A request may have a hundred thousand of them, so the
codec is called once for all that are outside in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.absent import ABSENT
from cascade_tables.schema import Column, Kind

Rows = NDArray[np.intp]


class Odd(NamedTuple):
    """Rows of a column whose values only its codec can handle.

    Attributes:
        rows: increasing.
        is_by_value: whether nothing is known about their values' types.
    """

    rows: Rows
    is_by_value: bool


NONE_ODD = Odd(np.zeros(0, np.intp), False)


def all_odd(values: Sequence[Any]) -> Odd:
    """Return all known values of a column as odd."""
    known = [row for row, value in enumerate(values) if value is not ABSENT]
    return Odd(np.array(known, np.intp), True)


def equal(values: Sequence[Any], rows: Rows) -> Iterator[Rows]:
    """Group rows of a column by equal values; 1, 1.0 and True are not equal."""
    groups: dict[Any, list[int]] = {}
    for row in rows.tolist():
        value = values[row]
        try:
            groups.setdefault((type(value), value), []).append(row)
        except TypeError:  # not hashable, and so nothing that a column can hold
            groups[row, ...] = [row]
    for group in groups.values():
        yield np.array(group, np.intp)


def alike(
    column: Column, values: Sequence[Any], rows: Rows, numbers: NDArray[np.float64]
) -> Iterator[Rows]:
    """Group rows of a column that its codec treats in the same way.

    Args:
        column: the column.
        values: of all rows, None or of the types that the column's values have.
        rows: those with values that were never learnt.
        numbers: of all rows, in float64; NaN: NULL, NaN, or an unknown category.
    """
    null = np.array([values[row] is None for row in rows.tolist()], np.bool_)
    rest = rows[~null]
    number = numbers[rest]
    if not column.kind.is_number:
        # All unknown text is treated in the same way, folded or not.
        below = above = np.zeros(len(rest), np.bool_)
        nothing = ~below
    else:
        assert column.minimum is not None
        assert column.maximum is not None
        whole = (np.floor(number) == number) & (number >= -(2.0**63)) & (number < 2.0**63)
        storable = whole if column.kind is not Kind.CONTINUOUS else ~np.isnan(number)
        below, above = (number < column.minimum) & storable, (number > column.maximum) & storable
        nothing = np.isnan(number)
    for group in (rows[null], rest[below], rest[above], rest[nothing]):
        if len(group):
            yield group
    yield from equal(values, rest[~(below | above | nothing)])
