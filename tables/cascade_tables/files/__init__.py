"""Reading of data files into columns: opening bytes, interpreting cells, and reporting findings.

A column of a CSV file is read twice. The first pass only counts how its cells are written
(`shapes`), and the counts decide what they are (`choosing`); the second pass converts the cells in
the chosen form (`forms`). So at most a block of the file is held as text, a single odd cell far
down changes no column's type, and a second file can be read in exactly the forms of the first.

pyarrow, which servers do not need, is imported when a file is read.
"""

from __future__ import annotations

from pathlib import Path

from cascade_tables.errors import DataError
from cascade_tables.frame import Frame


def read_table(path: Path) -> Frame:
    """Read the rows of a file with known content: CSV (.csv, .tsv, .txt, each also with .gz) or
    Parquet (.parquet, .pq, or a folder of such files).

    A column of a CSV file is text unless all its cells can be read as something else: no cell is
    lost. For files of users, whose odd cells must be reported, see `files.reading`.

    Raises:
        DataError: it cannot be read as a table; names the file and, for CSV, the line.
    """
    try:
        from cascade_tables.files import reading
    except ModuleNotFoundError as exc:
        if exc.name is None or not exc.name.startswith("pyarrow"):
            raise
        raise DataError(
            f"reading {path} needs pyarrow: pip install 'cascade-synthesis[distill]'"
        ) from exc
    return reading.read_table(path)
