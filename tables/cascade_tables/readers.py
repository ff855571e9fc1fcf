"""`read_table` for everybody: pyarrow, which servers do without, is imported when it is called."""

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
