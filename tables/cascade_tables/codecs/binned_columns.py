"""Decoding of all binned columns of a table at once.

NumPy takes about as long for one number as for a hundred, so decoding column by column multiplies
the time by the number of columns. Here the columns' cells lie one after another in shared tables,
and the numbers of all columns of a batch are decoded together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.columns.binned_codec import (
    FINE,
    BinnedCodec,
    real_numbers,
    unmarked,
    whole_numbers,
)
from cascade_tables.codecs.columns.column_codec import ColumnCodec, Tokens
from cascade_tables.schema import Kind


class _Sort:
    """The table's columns of real numbers, or those of whole numbers."""

    def __init__(self, real: bool, codecs: Sequence[BinnedCodec]) -> None:
        every = [codec.pairs for codec in codecs]
        dtype = np.float64 if real else np.int64
        nothing = np.zeros(0, dtype)
        self.low = np.concatenate([nothing, *(cells.low for cells in every)])
        self.high = np.concatenate([nothing, *(cells.high for cells in every)])
        self.count = np.concatenate([np.zeros(0, np.uint64), *(cells.count for cells in every)])
        self.scale = np.array([cells.scale for cells in every], np.float64)[:, None]
        self.step = np.array([cells.step for cells in every], np.uint64)[:, None]
        ends = np.cumsum([0, *(len(cells.low) for cells in every)], dtype=np.int64)
        self.begin = ends[:-1, None]


class BinnedColumns:
    """Decoder of any of a table's binned columns together; see the module's docstring.

    Args:
        codecs: of all columns of the table; listed ones are skipped.
        first_slot: of each column, [C].
    """

    def __init__(self, codecs: Sequence[ColumnCodec], first_slot: NDArray[np.intp]) -> None:
        self._first = first_slot
        self._null = np.array([codec.column.nullable for codec in codecs], np.int32)[:, None]
        marks_from = [c.marks_from if isinstance(c, BinnedCodec) else 0 for c in codecs]
        self._marks_from = np.array(marks_from, np.int32)[:, None]
        self._real = np.array([codec.column.kind is Kind.CONTINUOUS for codec in codecs])
        sorts: dict[bool, list[BinnedCodec]] = {True: [], False: []}
        # For each column, its index among those of its sort.
        self._place = np.zeros(len(codecs), np.intp)
        for index, codec in enumerate(codecs):
            if isinstance(codec, BinnedCodec):
                sort = sorts[bool(self._real[index])]
                self._place[index] = len(sort)
                sort.append(codec)
        self._sorts = {real: _Sort(real, found) for real, found in sorts.items()}

    def decode(
        self, tokens: Tokens, columns: Sequence[int], uniform: NDArray[np.float64]
    ) -> tuple[list[NDArray[np.float64] | NDArray[np.int64]], NDArray[np.bool_]]:
        """Decode the columns as `BinnedCodec.decode` does.

        Args:
            tokens: int32 [n, T].
            columns: indices of k binned columns in the schema.
            uniform: [k, n], chooses the places inside bins.

        Returns:
            Numbers [n] of each column: float64 for real, int64 for whole ones (microseconds since
            1970-01-01 UTC for date-times), a placeholder where NULL; and a NULL mask, bool [k, n].
        """
        which = np.array(columns, np.intp)
        slots = self._first[which]
        coarse = tokens.T[slots]
        null = coarse < self._null[which]
        fine = tokens.T[slots + 1]
        coarse, fine, uniform = unmarked(coarse, fine, uniform, self._marks_from[which])
        cell = coarse * FINE + fine
        real, place = self._real[which], self._place[which]
        out: list[NDArray[np.float64] | NDArray[np.int64]] = [uniform[0]] * len(which)
        for is_real, sort in self._sorts.items():
            rows = np.flatnonzero(real == is_real)
            if not len(rows):
                continue
            of_sort = place[rows]
            every = len(rows) == len(which)
            index = sort.begin[of_sort] + (cell if every else cell[rows])
            inside = uniform if every else uniform[rows]
            values: NDArray[np.float64] | NDArray[np.int64]
            if is_real:
                scale = sort.scale[of_sort]
                values = real_numbers(sort.low[index], sort.high[index], scale, inside)
            else:
                values = whole_numbers(
                    sort.low[index], sort.count[index], sort.step[of_sort], inside
                )
            for row, column in zip(rows.tolist(), values, strict=True):
                out[row] = column
        return out, null
