"""Import of rows from files, databases, Delta Lake and object stores, and export of job results.

URLs are opened in the caller's own process, with the caller's passwords; a server never sees them.
Needs pyarrow, and `cascade-synthesis[databases]` or `[delta]` for databases and Delta Lake.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade_client.errors import InvalidRequest, MissingDependency

if TYPE_CHECKING:
    from cascade_client.job_control import Jobs


def is_one_thing(out: str) -> bool:
    """Return whether a path or URL names one file or table rather than a folder for files.

    Raises:
        InvalidRequest: the URL is invalid, or contains a password.
    """
    from cascade_tables.connectors.locations import is_single, is_url, location_of
    from cascade_tables.errors import DataError

    try:
        # A folder of files behind a URL is for the server to write; a caller writes one file or
        # table.
        return is_single(out) or (is_url(out) and bool(location_of(out)))
    except DataError as exc:
        raise InvalidRequest(str(exc)) from None


def read_rows(source: str | Path) -> Any:
    """Read a file (CSV, Parquet, Arrow IPC), or the table that a URL names, as a pyarrow Table.

    >>> read_rows("postgresql://ann@db.example.org/bank#select age, sex from applicants")

    Args:
        source: a path, or a URL of a table, a query or a file; see docs/sources.md.

    Raises:
        InvalidRequest: it cannot be read; says what to do, and shows no password.
        MissingDependency: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from cascade_tables.connectors.locations import is_url
        from cascade_tables.connectors.sources import fetch_source
        from cascade_tables.errors import DataError
        from cascade_tables.files.reading import read_table
    except ImportError as exc:
        raise MissingDependency("reading tables needs pyarrow: pip install pyarrow") from exc
    try:
        if not is_url(str(source)):
            return read_table(Path(source)).to_arrow()
        with tempfile.TemporaryDirectory(prefix="cascade-") as folder:
            files = fetch_source(str(source), Path(folder))
            tables = [read_table(file).to_arrow() for file in files]
        return pa.concat_tables(tables)
    except (DataError, pa.ArrowException) as exc:
        raise InvalidRequest(str(exc)) from None


def fetch_into(
    jobs: Jobs,
    job: str,
    out: str,
    *,
    append: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> int:
    """Download the rows of a finished job, and write them to one file or table, all or none.

    >>> fetch_into(jobs, job.id, "sqlite:///bank.db#payments_made")

    Args:
        jobs: of the server.
        job: its id.
        out: a file's path (.parquet, .csv, .csv.gz, .arrow, .feather), or a URL; see
            docs/sources.md.
        append: whether to add to a table that already has rows; otherwise such a table is refused.
        progress: called with the downloaded bytes and the total bytes.

    Returns:
        The number of rows.

    Raises:
        InvalidRequest: the job is not done, or the table has rows; nothing is changed then.
        MissingDependency: pyarrow is not installed.
    """
    try:
        from cascade_tables.connectors import sinks
        from cascade_tables.errors import DataError
    except ImportError as exc:
        raise MissingDependency("writing tables needs pyarrow: pip install pyarrow") from exc
    try:
        # Check before downloading anything.
        sinks.check(out, append)
        with tempfile.TemporaryDirectory(prefix="cascade-") as folder:
            files = jobs.fetch(job, Path(folder), progress)
            parts = [file for file in files if file.suffix == ".parquet"]
            sinks.write_files(out, parts, append=append)
            return jobs.get(job).rows
    except DataError as exc:
        raise InvalidRequest(str(exc)) from None
