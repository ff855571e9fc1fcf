"""Parquet and Arrow IPC files, whose columns are typed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from cascade_tables.errors import DataError, listing, shown
from cascade_tables.files.deciding_rows import asked_as_categories, most_distinct
from cascade_tables.files.forms import Form
from cascade_tables.files.streaming import is_large, sampled
from cascade_tables.files.table import Stream
from cascade_tables.files.typed_columns import TypedColumns, forms_of
from cascade_tables.frame import Frame, check_unique
from cascade_tables.overrides import ColumnOverride

# Cells that are read together; at most one row group of a file is in memory.
CHUNK_CELLS = 1_300_000
# Read-ahead of a column in bytes; pyarrow's own option, `pre_buffer`, reads the whole file.
BUFFER = 1 << 20
ARROW_SUFFIXES = (".arrow", ".feather", ".ipc", ".arrows")
# Exceptions of pyarrow for a damaged file, including names that are not text.
UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)


def read_parquet(path: Path) -> tuple[Frame, dict[str, str]]:
    """Read a file, or a folder of files that form one table.

    Returns:
        The columns that can be read, and by name of the others, why they cannot.

    Raises:
        DataError: it is no Parquet file, is damaged, has no rows, or two columns share a name.
    """
    frame, unreadable, _ = together([path], {}, {}, finite=False)
    return frame, unreadable


def together(
    paths: Sequence[Path],
    overrides: Mapping[str, ColumnOverride],
    known: Mapping[str, Form] | None = None,
    finite: bool = True,
) -> tuple[Frame, dict[str, str], TypedColumns]:
    """Read several files or folders as one table; see `read_parquet`.

    Args:
        paths: of the files.
        overrides: the user's corrections of columns.
        known: forms of text columns, if known already; None: the table is new.
        finite: whether numbers that are not finite count as NULL.

    Returns:
        As `read_parquet`; and which cells were odd.
    """
    tables = [_arrow(path) for path in paths]
    first = tables[0]
    for path, table in zip(paths[1:], tables[1:], strict=True):
        _same_columns(paths[0], first.column_names, path, table.column_names)
    try:
        table = pa.concat_tables([each.select(first.column_names) for each in tables])
    except pa.ArrowException as exc:
        raise DataError(f"{listing(paths)} cannot be one table: {exc}") from exc
    if table.num_rows == 0:
        raise DataError(f"{listing(paths)} has no rows")
    types = {field.name: field.type for field in table.schema}
    asked = {name: each for name, each in overrides.items() if name not in (known or {})}
    forms = forms_of(
        types, asked, lambda name: [table[name]], listing(paths), must_fit=known is None
    )
    reader = TypedColumns({**(known or {}), **forms}, finite)
    columns, unreadable = {}, {}
    for name in table.column_names:
        try:
            columns[name] = reader.read(name, table[name])
        except DataError as exc:
            unreadable[name] = str(exc)
    return Frame(columns), unreadable, reader


def large(
    paths: Sequence[Path],
    overrides: Mapping[str, ColumnOverride],
    known: Mapping[str, Form] | None = None,
) -> tuple[Frame, dict[str, str], TypedColumns, Stream] | None:
    """Read several files or folders as one table, if it is too large for memory.

    Returns:
        Some of its rows, see `deciding_rows`; the columns that cannot be read, and why; which cells
        were odd; and all its rows. None: it is not that large, see `together`.

    Raises:
        DataError: see `together`.
    """
    files = [_File(path) for path in paths]
    rows = sum(file.rows for file in files)
    first = files[0].schema
    if not is_large(rows, len(first.names)):
        return None
    for file in files[1:]:
        _same_columns(paths[0], first.names, file.path, file.schema.names)
        for name in first.names:
            if file.schema.field(name).type != first.field(name).type:
                raise DataError(
                    f"{listing(paths)} cannot be one table: {shown(name)} is "
                    f"{first.field(name).type} in {paths[0]}, {file.schema.field(name).type} in "
                    f"{file.path}"
                )
    names = list(first.names)
    unreadable: dict[str, str] = {}
    for name in names:
        try:
            TypedColumns().read(name, pa.chunked_array([], first.field(name).type))
        except DataError as exc:
            unreadable[name] = str(exc)
    types = {name: first.field(name).type for name in names}
    asked = {name: each for name, each in overrides.items() if name not in (known or {})}
    forms = {
        **(known or {}),
        **forms_of(types, asked, _cells_of(files), listing(paths), must_fit=known is None),
    }
    while True:
        left = [name for name in names if name not in unreadable]
        reader = TypedColumns(forms, finite=True)
        chunks = _Chunks(files, left, forms, reader)
        limits = {n: most_distinct(overrides.get(n, ColumnOverride())) for n in left}
        try:
            sample, stream = sampled(
                rows, limits, chunks.frames, categories=asked_as_categories(overrides)
            )
        except _UnreadableError as exc:
            # A single value cannot be read although its type can: read everything again without the
            # column.
            unreadable[exc.column] = str(exc)
            continue
        return sample, unreadable, reader, stream


class _UnreadableError(DataError):
    """A column has a value that cannot be read."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


class _File:
    """A file or a folder whose rows are read on demand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if is_arrow(path):
                self.schema, batches = _ipc(path)
                self.rows = sum(map(len, batches))
            elif path.is_dir():
                folder = _folder(path)
                self.schema, self.rows = folder.schema, folder.count_rows()
            else:
                with pq.ParquetFile(path) as file:
                    self.schema, self.rows = file.schema_arrow, file.metadata.num_rows
            check_unique(self.schema.names, f"{path}: ")
        except UNREADABLE as exc:
            raise _unreadable(path, exc) from exc

    def batches(self, names: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Yield columns of some rows at a time."""
        try:
            if is_arrow(self.path):
                for batch in _ipc(self.path)[1]:
                    for first in range(0, len(batch), rows):
                        yield batch.slice(first, rows).select(list(names))
                return
            if self.path.is_dir():
                batches = _folder(self.path).to_batches(
                    columns=list(names),
                    batch_size=rows,
                    batch_readahead=1,
                    fragment_readahead=1,
                    use_threads=False,
                )
                yield from map(_checked, batches)
                return
            with pq.ParquetFile(self.path, buffer_size=BUFFER, pre_buffer=False) as file:
                batches = file.iter_batches(rows, columns=list(names), use_threads=False)
                yield from map(_checked, batches)
        except UNREADABLE as exc:
            raise _unreadable(self.path, exc) from exc


def is_arrow(path: Path) -> bool:
    """Return whether a file has an extension of Arrow's own format."""
    return path.suffix.lower() in ARROW_SUFFIXES


def _ipc(path: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Open the columns and rows of an Arrow file or stream by memory-mapping."""
    source = pa.memory_map(str(path))
    try:
        file = pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        stream = pa.ipc.open_stream(source)
        return stream.schema, map(_checked, stream)
    numbers = range(file.num_record_batches)
    return file.schema, (_checked(file.get_batch(number)) for number in numbers)


def _checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows after validating their columns: by default pyarrow trusts the lengths and offsets
    in a file, and reads whatever memory they point to.

    Raises:
        pa.ArrowException: they are invalid.
    """
    batch.validate(full=True)
    return batch


def _unreadable(path: Path, exc: Exception) -> DataError:
    called = "an Arrow IPC file" if is_arrow(path) else "Parquet"
    return DataError(f"{path} cannot be read as {called}: {exc}")


def _folder(path: Path) -> ds.Dataset:
    options = ds.ParquetFragmentScanOptions(
        use_buffered_stream=True, buffer_size=BUFFER, pre_buffer=False
    )
    return ds.dataset(
        path,
        format=ds.ParquetFileFormat(default_fragment_scan_options=options),
        partitioning="hive",
    )


class _Chunks:
    """Some columns of files, a number of rows at a time."""

    def __init__(
        self,
        files: Sequence[_File],
        names: Sequence[str],
        forms: Mapping[str, Form],
        first_reader: TypedColumns,
    ) -> None:
        self._files, self._names, self._forms = files, names, forms
        # Later passes meet the same odd cells again, so only the first pass records them.
        self._first = [first_reader]
        self._rows = max(1, CHUNK_CELLS // max(1, len(names)))

    def frames(self) -> Iterator[Frame]:
        """Yield all rows, in order."""
        reader = self._first.pop() if self._first else TypedColumns(self._forms, finite=True)
        begin = 0
        for file in self._files:
            for batch in file.batches(self._names, self._rows):
                columns = {}
                for name in self._names:
                    try:
                        columns[name] = reader.read(name, batch.column(name), begin)
                    except DataError as exc:
                        raise _UnreadableError(name, str(exc)) from exc
                begin += len(batch)
                yield Frame(columns)


def _cells_of(files: Sequence[_File]) -> Callable[[str], Iterator[pa.Array]]:
    """Return a function that yields the cells of a column of all files."""

    def cells(name: str) -> Iterator[pa.Array]:
        for file in files:
            yield from (batch.column(name) for batch in file.batches([name], CHUNK_CELLS))

    return cells


def _same_columns(first: Path, names: Sequence[str], path: Path, found: Sequence[str]) -> None:
    differ = set(names) ^ set(found)
    if differ:
        raise DataError(
            f"{path} does not have the columns of {first}; they differ in "
            f"{listing(map(shown, sorted(differ)))}"
        )


def _arrow(path: Path) -> pa.Table:
    try:
        # `read_table` fails on duplicate names without naming them.
        if is_arrow(path):
            schema, batches = _ipc(path)
            table = pa.Table.from_batches(list(batches), schema)
        else:
            table = pq.read_table(path) if path.is_dir() else pq.ParquetFile(path).read()
            table.validate(full=True)
        check_unique(table.column_names, f"{path}: ")
    except UNREADABLE as exc:
        raise _unreadable(path, exc) from exc
    return table
