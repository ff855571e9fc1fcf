"""Delivery of a finished job's rows to a single target: a table, or one file.

A database knows nothing about shards and leases. So a job whose output is a table first makes its
files in the server's own folder like any other job. When all are complete, one transaction writes
their rows to the table, together with the job's id. An executor that was killed tries again, and
the id shows whether the transaction was committed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cascade_tables.connectors.locations import is_single
from cascade_tables.errors import DataError

from cascade_jobs.errors import Cause, JobFailed, JobWaits
from cascade_jobs.job import Job, Part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cascade_tables.connectors.writing import Mark


def is_delivered(output: str) -> bool:
    """Return whether a specification's output is written in one step at the end, instead of as a
    folder of files.
    """
    return bool(output) and is_single(output)


def check(job: Job) -> None:
    """Check whether the rows of a job can be written, before any are drawn.

    Raises:
        JobFailed: they cannot: the table has rows, or lacks a column, or the password is wrong.
        JobWaits: the database is unavailable or busy.
    """
    from cascade_tables.connectors import sinks
    from cascade_tables.connectors.failures import Unreachable

    try:
        sinks.check(job.specification.output, columns=job.specification.columns)
    except Unreachable as exc:
        raise JobWaits(str(exc), Cause.OUTPUT) from exc
    except DataError as exc:
        raise JobFailed(str(exc), Cause.OUTPUT) from exc


def deliver(job: Job, parts: Sequence[Part], still_held: Callable[[], None]) -> None:
    """Write the rows of all files, unless this job has written them already.

    Args:
        job: the job, whose files are complete.
        parts: its files.
        still_held: raises if another executor has taken over the job; nothing is written then.

    Raises:
        JobWaits: they cannot be written now. The finished rows are kept: the problem may be
            solvable.
    """
    from cascade_tables.connectors import sinks

    files = [Path(job.output) / part.name for part in parts]
    with _waiting():
        sinks.write_files(job.specification.output, files, _mark(job), still_wanted=still_held)


def take_back(job: Job) -> None:
    """Remove what a failed or cancelled job has written.

    Raises:
        JobWaits: it cannot be removed.
    """
    from cascade_tables.connectors import sinks

    # Otherwise it has written nothing yet.
    if job.shards_done == len(job.plan):
        files = [Path(job.output) / shard.name for shard in job.plan]
        with _waiting():
            sinks.remove(job.specification.output, _mark(job), files)


@contextmanager
def _waiting() -> Iterator[None]:
    try:
        yield
    except DataError as exc:
        raise JobWaits(str(exc), Cause.OUTPUT) from exc


def _mark(job: Job) -> Mark:
    from cascade_tables.connectors.writing import Mark

    return Mark(job.id, job.specification.rows, job.specification.digest)
