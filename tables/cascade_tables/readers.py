"""Tables from files: CSV, checked line by line, and Parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cascade_tables.errors import DataError, shown
from cascade_tables.frame import ColumnData, Frame, check_unique

# What stands for NULL in a CSV file.
NULLS = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"})
# What separates the columns of files that are no CSV files as they are read here.
OTHER_DELIMITERS = (";", "\t")
TRUE, FALSE = frozenset({"true", "True", "TRUE"}), frozenset({"false", "False", "FALSE"})


def read_table(path: Path) -> Frame:
    """Read a .csv, .parquet or .pq file, or a folder of Parquet files of one such name.

    Raises:
        DataError: it cannot be read as a table; names the file and, for CSV, the line.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if suffix == ".csv":
        return read_csv(path)
    if suffix in (".parquet", ".pq"):
        return _read_parquet(path)
    raise DataError(f"{path}: cannot tell what this is; allowed: .csv, .parquet, .pq")


def _read_parquet(path: Path) -> Frame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # `read_table` stumbles over duplicate names, which `from_arrow` can name.
        table = pq.read_table(path) if path.is_dir() else pq.ParquetFile(path).read()
        frame = Frame.from_arrow(table)
    except (pa.ArrowException, OSError) as exc:
        raise DataError(f"{path} cannot be read as Parquet: {exc}") from exc
    except DataError as exc:
        raise DataError(f"{path}: {exc}") from exc
    if len(frame) == 0:
        raise DataError(f"{path} has no rows")
    return frame


def read_csv(path: Path) -> Frame:
    """Read a comma-separated file with a header line, in UTF-8.

    Columns become booleans, whole numbers, real numbers or ISO 8601 date-times where every value
    is one, else text. Numbers with leading zeros are text, whole numbers beyond 64 bits are real.

    Raises:
        DataError: no header, no rows, a repeated or empty name, a ragged line, not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(filter(None, reader), None)
            if header is None:
                raise DataError(f"{path} is empty; expected a header line and rows")
            _check_header(path, header)
            rows = []
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {_counted(len(row), 'field')}, "
                        f"but the header names {_counted(len(header), 'column')}"
                    )
                rows.append(row)
    except UnicodeDecodeError as exc:
        raise DataError(f"{path} is not UTF-8 text: {_first_bad_byte(path) or exc}") from exc
    except csv.Error as exc:
        raise DataError(f"{path}, line {reader.line_num}: {exc}") from exc
    except OSError as exc:
        raise DataError(f"{path} cannot be read: {exc.strerror}") from exc
    if not rows:
        raise DataError(f"{path} has a header but no rows")
    columns = zip(*rows, strict=True)
    return Frame({name: _column(cells) for name, cells in zip(header, columns, strict=True)})


def _first_bad_byte(path: Path) -> str:
    """Where a file stops being UTF-8, as an editor counts; Python's own message counts from the
    beginning of whatever it had read last."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as exc:
                return f"line {number:,}, byte {exc.start + 1:,} is 0x{line[exc.start]:02x}"
    return ""


def _check_header(path: Path, header: list[str]) -> None:
    if len(header) == 1 and any(mark in header[0] for mark in OTHER_DELIMITERS):
        raise DataError(
            f"{path}: the header is a single name, {shown(header[0])}; allowed: columns that are "
            "separated by commas"
        )
    check_unique(header, f"{path}: ")
    for at, name in enumerate(header, start=1):
        if not name.strip():
            raise DataError(f"{path}: column {at} has no name")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _column(cells: tuple[str, ...]) -> ColumnData:
    null = np.fromiter((cell in NULLS for cell in cells), bool, len(cells))
    present = [cell for cell in cells if cell not in NULLS]
    for parse, dtype in PARSERS:
        try:
            values = np.array([parse(cell) for cell in present], dtype)
        except (ValueError, OverflowError):
            continue
        if len(present) == 0:
            break
        whole = np.zeros(len(cells), dtype)
        whole[~null] = values
        if dtype == "float64":
            null = null | np.isnan(whole)
            whole = np.where(null, 0.0, whole)
        return ColumnData(whole, null)
    text = np.empty(len(cells), object)
    text[:] = ["" if n else cell for cell, n in zip(cells, null.tolist(), strict=True)]
    return ColumnData(text, null)


def _boolean(cell: str) -> bool:
    if cell in TRUE:
        return True
    if cell in FALSE:
        return False
    raise ValueError


def _whole(cell: str) -> int:
    digits = cell.lstrip("+-")
    if not digits.isascii() or not digits.isdigit() or (digits[0] == "0" and len(digits) > 1):
        raise ValueError
    return int(cell)


def _real(cell: str) -> float:
    digits = cell.lstrip("+-")
    zeros = digits[:1] == "0" and digits[1:2].isdigit()
    if zeros or "_" in cell or cell.strip() != cell or not cell.isascii():
        raise ValueError
    return float(cell)


def _time(cell: str) -> np.datetime64:
    if len(cell) < 8 or "-" not in cell:
        raise ValueError
    at = datetime.fromisoformat(cell)
    if at.tzinfo is not None:
        at = at.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(at, "us")


PARSERS: tuple[tuple[Callable[[str], Any], str], ...] = (
    (_boolean, "bool"),
    (_whole, "int64"),
    (_real, "float64"),
    (_time, "datetime64[us]"),
)
