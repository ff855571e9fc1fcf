"""A finished job's rows to where they are to be as one thing: a table, or one file.

A database knows nothing of shards and leases. So a job whose output is a table makes its files in
the server's own folder as every other, and when all are whole, one transaction takes their rows
over and writes the job's id beside them. Who is killed tries again, and the id says whether it is
done.
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
    """Whether what a job's specification names is written whole when all of its files are: it is no
    folder of files."""
    return bool(output) and is_single(output)


def check(job: Job) -> None:
    """See whether the rows of a job could be written, before any is drawn.

    Raises:
        JobFailed: they could not: the table has rows, or lacks a column, or the password is wrong.
        JobWaits: the database is away, or busy.
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
        job: whose files are whole.
        parts: these.
        still_held: raises where the job is somebody else's by now; nothing is written then.

    Raises:
        JobWaits: they cannot be written now. Nobody throws the rows away that are there: whatever
            is wrong, somebody may mend it.
    """
    from cascade_tables.connectors import sinks

    files = [Path(job.output) / part.name for part in parts]
    with _waiting():
        sinks.write_files(job.specification.output, files, _mark(job), still_wanted=still_held)


def take_back(job: Job) -> None:
    """Remove what a job that came to nothing has written.

    Raises:
        JobWaits: it cannot be removed.
    """
    from cascade_tables.connectors import sinks

    # Before all of its files were whole it has written nothing.
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
