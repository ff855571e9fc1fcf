"""Parquet files, whose columns have types already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cascade_tables.errors import DataError, listing, shown
from cascade_tables.frame import Frame, check_unique, column_from_arrow


def read_parquet(path: Path) -> tuple[Frame, dict[str, str]]:
    """A file, or a folder of files that are one table.

    Returns:
        The columns that can be read, and by the names of the others, why they cannot.

    Raises:
        DataError: it is no Parquet file, is damaged, has no rows, or two columns share a name.
    """
    return together([path])


def together(paths: Sequence[Path]) -> tuple[Frame, dict[str, str]]:
    """Several files or folders, as one table; see `read_parquet`."""
    tables = [_arrow(path) for path in paths]
    first = tables[0]
    for path, table in zip(paths[1:], tables[1:], strict=True):
        differ = set(first.column_names) ^ set(table.column_names)
        if differ:
            raise DataError(
                f"{path} does not have the columns of {paths[0]}; they differ in "
                f"{listing(map(shown, sorted(differ)))}"
            )
    try:
        table = pa.concat_tables([each.select(first.column_names) for each in tables])
    except pa.ArrowException as exc:
        raise DataError(f"{listing(paths)} cannot be one table: {exc}") from exc
    if table.num_rows == 0:
        raise DataError(f"{listing(paths)} has no rows")
    columns, unreadable = {}, {}
    for name in table.column_names:
        try:
            columns[name] = column_from_arrow(name, table[name])
        except DataError as exc:
            unreadable[name] = str(exc)
    return Frame(columns), unreadable


def _arrow(path: Path) -> pa.Table:
    try:
        # `read_table` stumbles over duplicate names, which can be named here.
        table = pq.read_table(path) if path.is_dir() else pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as exc:
        raise DataError(f"{path} cannot be read as Parquet: {exc}") from exc
    check_unique(table.column_names, f"{path}: ")
    return table
