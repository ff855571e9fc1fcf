"""Tables too large for memory, read in chunks, as often as needed.

A file's columns must have the same type in every chunk. The types that files declare (`forms` for
CSV, Arrow's for Parquet) hold for all chunks. Types that depend on values (whether times of day are
whole seconds, whether whole numbers exceed 64 bits) are determined in the first pass, which also
takes the sample that decides the schema, and are imposed on every later pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from cascade_tables.files.deciding_rows import CategoryCounts, DecidingRows
from cascade_tables.files.table import Stream
from cascade_tables.frame import ColumnData, Frame

# Most cells of a table in memory; a larger table is sampled, and its rows are read again whenever
# all of them are needed. A cell takes eight bytes, and as much again while columns are examined.
MOST_CELLS = 20_000_000
# Most distinct categories of a large table that are counted in all rows: some 150 bytes each.
MOST_COUNTED = 2_000_000


def is_large(rows: int, columns: int) -> bool:
    """Return whether a table's rows are too many for memory."""
    return rows * columns > MOST_CELLS


def sampled(
    rows: int,
    limits: Mapping[str, int],
    chunks: Callable[[], Iterator[Frame]],
    whole_numbers: Iterable[str] = (),
    categories: Collection[str] = (),
) -> tuple[Frame, Stream]:
    """Return the rows that decide a table's schema, and a stream of all its rows.

    Args:
        rows: of the table.
        limits: by column, number of distinct values up to which all are taken; see `most_distinct`.
        chunks: reads the table, in order.
        whole_numbers: columns that are read as reals, and become whole numbers if all of them are.
        categories: columns that become categories, whatever their values are.

    Returns:
        The sample's columns have the counts of categories in all rows; see `ColumnData.counts`.
    """
    counts = CategoryCounts(categories, MOST_COUNTED)
    deciding = DecidingRows(rows, max(1, MOST_CELLS // max(1, len(limits))), limits)
    for chunk in chunks():
        deciding.add(chunk)
        counts.add(chunk)
    whole = [name for name in whole_numbers if not deciding.has_fractions(name)]
    sample = deciding.frame()
    settled = {
        name: (np.dtype(np.int64) if name in whole else data.values.dtype, data.dtype)
        for name, data in sample.columns.items()
    }

    def settle(frame: Frame) -> Frame:
        return Frame(
            {
                name: ColumnData(data.values.astype(settled[name][0], copy=False), data.null, dtype)
                for name, data in frame.columns.items()
                for dtype in [settled[name][1]]
            }
        )

    decided = {
        name: replace(data, counts=counts.of(name, data.values))
        for name, data in settle(sample).columns.items()
    }
    return Frame(decided), Stream(rows, lambda: map(settle, chunks()))
