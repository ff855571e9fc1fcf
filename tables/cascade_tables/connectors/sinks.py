"""Sinks: rows to what a URL names, whole or not at all.

A table of a database gets all rows in one transaction, a Delta table in one version, and a file
its name when it is whole. With a `Mark` the same rows are written once, however often it is tried.
"""

from __future__ import annotations

import filecmp
import gzip
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from cascade_tables.connectors import making
from cascade_tables.connectors.locations import FILES, Kind, Location, is_url, location_of
from cascade_tables.connectors.sources import connected
from cascade_tables.connectors.spooling import batches_of
from cascade_tables.connectors.writing import Mark, TableTaken, check_name, writable_schema
from cascade_tables.errors import DataError
from cascade_tables.frame import Frame

Chunks = Callable[[], Iterator[pa.RecordBatch]]


def write_table(url: str | Path, rows: Any, *, append: bool = False) -> None:
    """Write rows to what a URL or path names: a table of a database, a Delta table, or a file
    (.parquet, .csv, .csv.gz, .arrow, .feather).

    Args:
        url: see `locations`; or a file of this machine.
        rows: a `Frame`, or a pyarrow Table.
        append: whether a table that has rows gets these behind them.

    Raises:
        DataError: it cannot be written, or is there; nothing is changed then.
    """
    table = rows.to_arrow() if isinstance(rows, Frame) else rows
    write_chunks(str(url), table.schema, lambda: iter(table.to_batches()), append=append)


def write_files(
    url: str | Location,
    files: Sequence[Path],
    mark: Mark | None = None,
    append: bool = False,
    still_wanted: Callable[[], None] = lambda: None,
) -> bool:
    """Write the rows of Parquet files, one below the other; see `write_chunks`."""
    schema, chunks = _rows_of(files)
    return write_chunks(url, schema, chunks, mark, append, still_wanted)


def _rows_of(files: Sequence[Path]) -> tuple[pa.Schema, Chunks]:
    import pyarrow.parquet as pq

    def chunks() -> Iterator[pa.RecordBatch]:
        for file in files:
            yield from batches_of(file)

    return pq.read_schema(files[0]).remove_metadata(), chunks


def write_chunks(
    url: str | Location,
    schema: pa.Schema,
    chunks: Chunks,
    mark: Mark | None = None,
    append: bool = False,
    still_wanted: Callable[[], None] = lambda: None,
) -> bool:
    """Write rows, all or none.

    Args:
        url: of a table, or of a file; or a file's path.
        schema: of the rows.
        chunks: gives them, some at a time.
        mark: who writes; rows that it has written are not written again.
        append: whether a table that has rows gets these behind them.
        still_wanted: is called when all is there but its end, and raises what it likes to undo it.

    Returns:
        Whether they were written; False: they are there already, by this mark.

    Raises:
        DataError: see `connected`; `TableTaken`: the table has rows, or the file is there.
    """
    location = _location(url)
    check_name(location)
    if location.kind is Kind.FILES:
        return _write_file(location, schema, chunks, mark, append, still_wanted)
    wanted = writable_schema(schema) if location.kind is Kind.DATABASE else schema
    written: bool = connected(location).write(
        wanted, lambda: _cast(chunks(), wanted), mark, append, still_wanted
    )
    return written


def check(url: str | Location, append: bool = False, columns: Sequence[str] = ()) -> None:
    """See whether rows could be written, as far as anybody can tell; nothing is changed.

    Args:
        url: of a table, or of a file; or a file's path.
        append: whether a table may have rows.
        columns: of the rows, which a table that is there has to have; (): they are not known yet.

    Raises:
        DataError: they could not.
    """
    location = _location(url)
    check_name(location)
    if location.kind is not Kind.FILES:
        connected(location).check(append, columns)
        return
    if _is_there(location):
        raise _there(location)


def remove(url: str | Location, mark: Mark, files: Sequence[Path] = ()) -> None:
    """Remove what was written with a mark; what others have written stays.

    Args:
        url: of a table, or of a file; or a file's path.
        mark: who has written.
        files: the Parquet files whose rows it were. A file has no place for a mark: it is what
            these make, byte for byte, or it is somebody else's.

    Raises:
        DataError: it cannot be removed.
    """
    location = _location(url)
    if location.kind is not Kind.FILES:
        connected(location).remove(mark)
        return
    path = _local(location)
    if path is not None:
        making.sweep(path)
    else:
        from cascade_tables.connectors.remote_files import removed, swept

        swept(location, mark.job)
    if not files or not _is_there(location):
        return
    try:
        with making.unnamed() as made:
            with made.open("wb") as file:
                _write(file, location.url.lower(), *_rows_of(files))
            if not _holds(location, made):
                return
        if path is not None:
            path.unlink(missing_ok=True)
        else:
            removed(location)
    except OSError as exc:
        raise DataError(f"{_shown(location)} cannot be removed: {exc.strerror or exc}") from exc


def _location(url: str | Location) -> Location:
    if isinstance(url, Location):
        return url
    if is_url(url):
        return location_of(url)
    return Location(Kind.FILES, "file", f"file://{Path(url).absolute()}")


def _local(location: Location) -> Path | None:
    return Path(location.url.removeprefix("file://")) if location.scheme == "file" else None


def _shown(location: Location) -> str:
    return str(_local(location) or location)


def _is_there(location: Location) -> bool:
    path = _local(location)
    if path is not None:
        return path.exists()
    from cascade_tables.connectors.remote_files import failing, opened

    files, name = opened(location)
    with failing(location):
        return bool(files.exists(name))


def _holds(location: Location, made: Path) -> bool:
    """Whether a file that is there has the bytes of another one."""
    path = _local(location)
    if path is not None:
        return path.is_file() and filecmp.cmp(path, made, shallow=False)
    from cascade_tables.connectors.remote_files import holds

    return holds(location, made)


def _write_file(
    location: Location,
    schema: pa.Schema,
    chunks: Chunks,
    mark: Mark | None,
    append: bool,
    still_wanted: Callable[[], None],
) -> bool:
    if not location.url.lower().endswith(FILES):
        raise DataError(
            f"{_shown(location)}: cannot tell what this is to be; allowed: {', '.join(FILES)}"
        )
    if append:
        raise DataError(f"{_shown(location)} is a file, which cannot be added to")
    path = _local(location)
    if mark is None and _is_there(location):
        raise _there(location)
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        with making.unnamed() if path is None else making.beside(path) as made:
            with made.open("wb") as file:
                _write(file, location.url.lower(), schema, chunks)
                file.flush()
                os.fsync(file.fileno())
            if _is_there(location):
                # It has no place for a mark, but the same job writes the same bytes.
                if mark is not None and _holds(location, made):
                    return False
                raise _there(location)
            still_wanted()
            if path is not None:
                made.chmod(0o666 & ~_umask())
                made.replace(path)
            else:
                from cascade_tables.connectors.remote_files import sent

                sent(location, made, "" if mark is None else mark.job)
    except OSError as exc:
        raise DataError(f"{_shown(location)} cannot be written: {exc.strerror or exc}") from exc
    return True


def _there(location: Location) -> TableTaken:
    return TableTaken(f"{_shown(location)} is there; name a file that is not there yet")


def _umask() -> int:
    # There is no other way to ask for it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _write(file: BinaryIO, url: str, schema: pa.Schema, chunks: Chunks) -> None:
    if url.endswith(".parquet"):
        import pyarrow.parquet as pq

        with pq.ParquetWriter(file, schema, compression="zstd") as out:
            for chunk in _cast(chunks(), schema):
                out.write_batch(chunk)
    elif url.endswith((".arrow", ".feather")):
        with pa.ipc.new_file(file, schema) as ipc:
            for chunk in _cast(chunks(), schema):
                ipc.write_batch(chunk)
    else:
        from pyarrow import csv

        # Nothing in a gzip file says when it was made.
        out_file: Any = file
        if url.endswith(".gz"):
            out_file = gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0)
        with csv.CSVWriter(out_file, schema) as out:
            for chunk in _cast(chunks(), schema):
                out.write_batch(chunk)
        if out_file is not file:
            out_file.close()


def _cast(chunks: Iterator[pa.RecordBatch], wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
    for chunk in chunks:
        if chunk.schema.equals(wanted):
            yield chunk
            continue
        columns = [
            chunk.column(field.name).cast(field.type, safe=not pa.types.is_timestamp(field.type))
            for field in wanted
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=wanted)
