"""What is left of what jobs have made: only a job whose files are all there is reused, and only
where nothing is another one may write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cascade_tables.errors import DataError

from cascade_jobs.delivering import is_delivered
from cascade_jobs.errors import JobsError
from cascade_jobs.job import Job, Part
from cascade_jobs.stores import Store, is_url


def is_still_there(job: Job, parts: Sequence[Part], store: Store) -> bool:
    """Whether somebody who asks for the rows of a job that is done would find them.

    A table or a file that has been put in the place of what the job has written is not told from
    it: nobody writes over it either.

    Args:
        job: which is done.
        parts: its files, as the ledger has them.
        store: where they are.

    Returns:
        True also where that cannot be told now, since what is behind a network is away: such rows
        could not be written anew either.
    """
    if is_delivered(job.specification.output):
        return _is_at(job.specification.output)
    try:
        there = store.sizes([part.name for part in parts])
    except (OSError, JobsError, ImportError):
        return True
    return all(there.get(part.name) == part.bytes for part in parts)


def is_empty(store: Store) -> bool | None:
    """Whether there is nothing where a job's files are to go: what somebody else's rows are beside
    would be read with them. None: that cannot be told now."""
    try:
        return store.is_empty()
    except (OSError, JobsError, ImportError):
        return None


def is_taken(output: str) -> bool:
    """Whether the one file that a job is to write is there already. Of a table, which is behind a
    network and may have rows at any time, whoever delivers asks."""
    return not is_url(output) and Path(output).exists()


def _is_at(output: str) -> bool:
    """Whether there is a table with rows, or a file."""
    from cascade_tables.connectors import sinks

    try:
        # Passes where rows could be written: there is nothing, or a table without any.
        sinks.check(output)
    except (DataError, ImportError):
        return True
    return False
