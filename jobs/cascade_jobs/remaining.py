"""Check of what is left of jobs' results.

Only a job whose files all still exist is reused, and an output is only free if it is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cascade_tables.errors import DataError

from cascade_jobs.delivering import is_delivered
from cascade_jobs.errors import JobsError
from cascade_jobs.job import Job, Part
from cascade_jobs.stores import Store, is_url


def is_still_there(job: Job, parts: Sequence[Part], store: Store) -> bool:
    """Return whether the results of a finished job still exist.

    A table or file that has replaced the job's result is not distinguished from it; it is not
    overwritten either.

    Args:
        job: which is done.
        parts: its files, as recorded in the ledger.
        store: of the files.

    Returns:
        True also if that is unknown because a remote store is unavailable: new rows could not be
        written there either.
    """
    if is_delivered(job.specification.output):
        return _is_at(job.specification.output)
    try:
        there = store.sizes([part.name for part in parts])
    except (OSError, JobsError, ImportError):
        return True
    return all(there.get(part.name) == part.bytes for part in parts)


def is_empty(store: Store) -> bool | None:
    """Return whether a job's output is empty: other files there would be read as part of its rows.

    None: that is unknown now.
    """
    try:
        return store.is_empty()
    except (OSError, JobsError, ImportError):
        return None


def is_taken(output: str) -> bool:
    """Return whether the single file of a job already exists. A remote table, which may get rows at
    any time, is checked at delivery.
    """
    return not is_url(output) and Path(output).exists()


def _is_at(output: str) -> bool:
    """Return whether there is a table with rows, or a file."""
    from cascade_tables.connectors import sinks

    try:
        # Passes if rows could be written: there is nothing, or an empty table.
        sinks.check(output)
    except (DataError, ImportError):
        return True
    return False
