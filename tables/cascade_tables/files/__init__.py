"""Files as people have them, to columns: how bytes are opened, what cells mean, what is said of it.

A column of a CSV file is read twice. The first time only counts how its cells are written
(`shapes`), and what they are is decided from the counts (`choosing`); the second time the cells are
converted in the form that was chosen (`forms`). So no more than a block of the file is ever held
as text, one odd cell far down changes no column's type, and a second file can be read in the very
forms of the first.

pyarrow, which servers do without, is imported when a file is read.
"""

from __future__ import annotations

from pathlib import Path

from cascade_tables.errors import DataError
from cascade_tables.frame import Frame


def read_table(path: Path) -> Frame:
    """The rows of a file that a program knows: CSV (.csv, .tsv, .txt, each also with .gz) or
    Parquet (.parquet, .pq, or a folder of such files).

    A column of a CSV file is text unless all its cells can be read as something else: no cell is
    lost. For files of a person's, of which odd cells are to be told, there is `files.reading`.

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
