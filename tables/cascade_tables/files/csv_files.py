"""CSV files, read in blocks: a first pass that counts, and a second that converts.

pyarrow splits lines into cells; docs/adr/0015 explains the choice. It continues after a missing
quote or text behind a quote, and does not report lines: if it fails, or quotes look wrong, Python's
own reader goes through the file to find the line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from cascade_tables.errors import DataError
from cascade_tables.files.choosing import Counts
from cascade_tables.files.dialect import Dialect
from cascade_tables.files.findings import NAMED
from cascade_tables.files.forms import NUMPY_TYPES, Form, Type, convert
from cascade_tables.files.opening import Source
from cascade_tables.frame import ColumnData

# Bytes of a file that are held as text at once, and the longest line.
BLOCK = 8 << 20
# Most distinct texts of a column in the lookup that stores repeated ones once.
INTERNED = 200_000


@dataclass(frozen=True)
class CsvFile:
    """A CSV file whose columns are known."""

    source: Source
    dialect: Dialect

    def blocks(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield cells of some columns as text, in order.

        Raises:
            DataError: a line has too few fields or too many, a quote is not closed, or bytes are
                not text in the file's encoding; names the line.
        """
        dialect = self.dialect
        with self.source.open() as file:
            watched = _Watched(file, dialect.delimiter)
            try:
                yield from pa.csv.open_csv(
                    watched,
                    pa.csv.ReadOptions(
                        use_threads=False,
                        block_size=BLOCK,
                        column_names=dialect.names,
                        skip_rows=dialect.lines_above,
                        skip_rows_after_names=1,
                        encoding="utf-8" if self.source.is_utf8 else self.source.encoding,
                    ),
                    pa.csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True),
                    pa.csv.ConvertOptions(
                        column_types=dict.fromkeys(dialect.names, pa.string()),
                        strings_can_be_null=False,
                        include_columns=list(names),
                    ),
                )
            except pa.ArrowInvalid as exc:
                self._check()
                if "UTF8" in str(exc):
                    raise self.source.not_text(exc) from exc
                if "straddling" in str(exc) or "block" in str(exc):
                    raise DataError(
                        f"{self.source.name}: a line is longer than {BLOCK:,} bytes"
                    ) from exc
                raise DataError(f"{self.source.name}: {exc}") from exc
            except UnicodeError as exc:
                raise self.source.not_text(exc) from exc
            if watched.is_doubtful:
                self._check()

    def _check(self) -> None:
        """Check the file line by line.

        Raises:
            DataError: names the first line that does not fit.
        """
        wanted = len(self.dialect.names)
        name = self.source.name
        above = self.dialect.marked
        with self.source.text() as text:
            reader = self.dialect.reader(text, strict=True)
            try:
                for row in reader:
                    if row and len(row) != wanted:
                        raise DataError(
                            f"{name}, line {reader.line_num + above}: "
                            f"{_counted(len(row), 'field')}, "
                            f"but the header names {_counted(wanted, 'column')}"
                        )
            except csv.Error as exc:
                if "field limit" in str(exc):  # a cell that only pyarrow's reader takes
                    return
                raise DataError(f"{name}, line {reader.line_num + above}: {exc}") from exc

    def lines(self, rows: Sequence[int]) -> dict[int, int]:
        """Return the line at which each row begins, as an editor counts; rows ascend, the first is
        0.
        """
        wanted, found = set(rows), {}
        if not wanted:
            return {}
        above = self.dialect.marked
        with self.source.text() as text:
            reader = self.dialect.reader(text)
            row, line, last = -1, 1 + above, max(wanted)  # the header is row -1
            try:
                for record in reader:
                    if record:
                        if row in wanted:
                            found[row] = line
                        row += 1
                    if row > last:
                        break
                    line = reader.line_num + 1 + above
            except csv.Error:  # a cell that is longer than Python's reader takes
                pass
        return found

    def blank_lines(self) -> list[int]:
        """Return the blank lines between the rows of a file of one column.

        They are not rows, but the user may have meant them as cells. In other files they cannot be
        mistaken for cells.
        """
        if len(self.dialect.names) > 1:
            return []
        found: list[int] = []
        between = 0
        with self.source.text() as text:
            begun, reader = False, self.dialect.reader(text)
            try:
                for record in reader:
                    if record:
                        begun, between = True, len(found)
                    elif begun:
                        found.append(reader.line_num + self.dialect.marked)
            except csv.Error:
                pass
        return found[:between]


class _Watched(io.RawIOBase):
    """A file that checks for suspicious quotes while it is read."""

    def __init__(self, file: BinaryIO, delimiter: str) -> None:
        super().__init__()
        self._file = file
        mark = delimiter.encode()
        # Positions of a quote that begins or ends a cell.
        self._usual = (mark + b'"', b'"' + mark, b'\n"', b'"\n', b'\r"', b'"\r')
        self._quotes, self._strays, self._rest = 0, False, b""

    @property
    def is_doubtful(self) -> bool:
        """Whether a quote seems unclosed, or followed by text; it may be a false alarm, since text
        may contain plain quotes.
        """
        return self._strays or self._quotes % 2 == 1

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        quotes = content.count(b'"')
        if quotes and not self._strays:
            left = (self._rest + content).replace(b'""', b"")
            for usual in self._usual:
                left = left.replace(usual, usual.replace(b'"', b""))
            # The first and the last quote cannot be judged here.
            self._strays = b'"' in left[1:-1]
        self._quotes, self._rest = self._quotes + quotes, content[-2:]
        return content


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


@dataclass
class Look:
    """Result of a first pass over files: counts by column, and rows by file."""

    counts: dict[str, Counts]
    rows: list[int] = field(default_factory=list)


def look(files: Sequence[CsvFile], null_values: Mapping[str, tuple[str, ...]]) -> Look:
    """Count how the cells of some columns are written.

    Args:
        files: with equal columns.
        null_values: by column to count, the additional values that stand for NULL.

    Raises:
        DataError: see `CsvFile.blocks`; or there are no rows.
    """
    found = Look({name: Counts() for name in null_values})
    for file in files:
        rows = 0
        for block in file.blocks(list(null_values) or file.dialect.names[:1]):
            rows += block.num_rows
            for name, also_null in null_values.items():
                cells = block.column(name).dictionary_encode()
                weights = np.bincount(np.asarray(cells.indices), minlength=len(cells.dictionary))
                found.counts[name].add(cells.dictionary, weights, also_null)
        if not rows:
            raise DataError(f"{file.source.name} has a header but no rows")
        found.rows.append(rows)
    return found


@dataclass
class Noticed:
    """Cells of a column that do not fit a form: their number, and the first of them.

    Attributes:
        count: all of them.
        present: cells that are neither odd nor NULL.
        cells: file, row and text of the first, and of the first with another text.
    """

    count: int = 0
    present: int = 0
    cells: list[tuple[int, int, str]] = field(default_factory=list)

    def add(self, file: int, row: int, cells: pa.Array, odd: NDArray[np.bool_]) -> None:
        """Add cells of a file, starting at a row; `odd` [n] of them do not fit."""
        self.count += int(odd.sum())
        places = np.flatnonzero(odd)
        for at in places[: max(0, NAMED - len(self.cells))].tolist():
            self.cells.append((file, row + at, cells[at].as_py()))
        known = {text for _, _, text in self.cells}
        if not len(places) or len(known) >= NAMED:
            return
        # Each text once, so that the user sees all of them if they are few.
        encoded = cells.filter(pa.array(odd)).dictionary_encode()
        for code, text in enumerate(encoded.dictionary[:NAMED].to_pylist()):
            if text not in known and len(known) < NAMED:
                known.add(text)
                at = int(places[(np.asarray(encoded.indices) == code).argmax()])
                self.cells.append((file, row + at, text))


class _Reader:
    """Reads the cells of a column in its form, block after block, and records the odd ones."""

    def __init__(self, form: Form, nearly: Form | None, noticed: Noticed) -> None:
        self.form, self.nearly, self.noticed = form, nearly, noticed
        self._texts: dict[str, str] = {}

    def read(self, file: int, row: int, cells: pa.Array) -> ColumnData:
        """Read a block's cells; the block starts at `row` of the file."""
        encoded = cells.dictionary_encode()
        index, distinct = np.asarray(encoded.indices), encoded.dictionary
        read = convert(self.form, distinct)
        values = self._shared(read.values)[index]
        null = (read.null | read.odd)[index]
        if self.form.type is not Type.TEXT:
            values[null] = np.zeros(1, values.dtype)[0]
        self.noticed.present += len(null) - int(null.sum())
        odd = read.odd if self.nearly is None else convert(self.nearly, distinct).odd
        if odd.any():
            self.noticed.add(file, row, cells, odd[index])
        return ColumnData(values, null)

    def _shared(self, values: NDArray[Any]) -> NDArray[Any]:
        """Store texts that repeat between blocks as one object each."""
        if self.form.type is Type.TEXT and len(self._texts) < INTERNED:
            texts = self._texts
            values[:] = [texts.setdefault(text, text) for text in values.tolist()]
        return values


def read_blocks(
    files: Sequence[CsvFile],
    forms: Mapping[str, Form],
    nearly: Mapping[str, Form],
    noticed: Mapping[str, Noticed],
) -> Iterator[dict[str, ColumnData]]:
    """Yield columns in their forms, a block of rows at a time; times of day are real numbers.

    Args:
        files: with equal columns.
        forms: by column to read.
        nearly: forms of text columns for which cells that do not fit are reported.
        noticed: by column, receives the cells that do not fit.
    """
    readers = {name: _Reader(form, nearly.get(name), noticed[name]) for name, form in forms.items()}
    for number, file in enumerate(files):
        row = 0
        for block in file.blocks(list(forms)):
            yield {
                name: reader.read(number, row, block.column(name))
                for name, reader in readers.items()
            }
            row += block.num_rows


def load(
    files: Sequence[CsvFile],
    rows: Sequence[int],
    forms: Mapping[str, Form],
    nearly: Mapping[str, Form],
) -> tuple[dict[str, ColumnData], dict[str, Noticed]]:
    """Read columns in their forms; `rows` are those of each file. See `read_blocks`.

    Returns:
        The columns, NULL where a cell does not fit its form; and the cells that do not fit.
    """
    noticed = {name: Noticed() for name in forms}
    columns = {
        name: ColumnData(np.empty(sum(rows), NUMPY_TYPES[form.type]), np.empty(sum(rows), bool))
        for name, form in forms.items()
    }
    begin = 0
    for block in read_blocks(files, forms, nearly, noticed):
        count = len(next(iter(block.values()), ()))
        part = slice(begin, begin + count)
        for name, data in block.items():
            columns[name].values[part], columns[name].null[part] = data.values, data.null
        begin += count
    for name, form in forms.items():
        values = columns[name].values
        if form.type is Type.TIME and bool((values == np.floor(values)).all()):
            columns[name] = ColumnData(values.astype(np.int64), columns[name].null)
    return columns, noticed
