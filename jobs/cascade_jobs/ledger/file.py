"""The ledger's file: opening, reading, and serialised transactions."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from cascade_jobs.errors import LedgerRefused, UnknownJob
from cascade_jobs.facts import ReleaseFacts
from cascade_jobs.job import MANIFEST, Job, Part
from cascade_jobs.ledger.counting import Count
from cascade_jobs.ledger.schema import bring_up_to_date
from cascade_jobs.shards import Shard
from cascade_jobs.specification import Specification
from cascade_jobs.states import JobEvent, JobState, follows

# Seconds that a transaction waits for another one to end.
BUSY_SECONDS = 10.0
OPEN = "('PENDING', 'RUNNING')"

_JOB = """
    SELECT jobs.*,
        coalesce(sum(shards.state = 'DONE' AND shards.rows > 0), 0) AS shards_done,
        coalesce(sum(CASE WHEN shards.state = 'DONE' THEN shards.rows ELSE 0 END), 0) AS rows_done,
        coalesce(sum(CASE shards.state WHEN 'DONE' THEN shards.rows WHEN 'LEASED' THEN shards.drawn
            ELSE 0 END), 0) AS rows_drawn,
        coalesce(sum(shards.bytes), 0) AS bytes
    FROM jobs LEFT JOIN shards ON shards.job = jobs.id
"""
_PART = "SELECT shards.*, jobs.rows_folder FROM shards JOIN jobs ON jobs.id = shards.job"


class LedgerFile:
    """The jobs of one state folder; used by one thread at a time.

    Args:
        path: of the file; created if it does not exist.
        clock: seconds since 1970-01-01 UTC, comparable between machines and after reboots.
        new_id: returns the id of a new job.

    Raises:
        LedgerRefused: it is damaged, cannot be written, or was made by a newer server.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: secrets.token_hex(6),
    ) -> None:
        self.path, self._clock, self._new_id = path, clock, new_id
        self._seen = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Another thread than the opening one may use it, if only one does at a time.
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as exc:
            raise self._refused(exc) from exc
        self._connection.row_factory = sqlite3.Row
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            # A commit is on the disk when it returns, so that a confirmed job survives a power
            # failure.
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            bring_up_to_date(self._connection, path)
        except BaseException as exc:  # also KeyboardInterrupt: the file would stay open
            self._connection.close()
            if isinstance(exc, sqlite3.Error):
                raise self._refused(exc) from exc
            raise

    def _refused(self, error: Exception) -> LedgerRefused:
        return LedgerRefused(
            f"{self.path} cannot be used as the ledger of jobs ({error}); if it is damaged, stop "
            "the server and move the file away: jobs begin anew, and results that are whole stay"
        )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:  # also KeyboardInterrupt: the ledger would stay locked
            # A full disk may have ended the transaction already; then this does nothing.
            self._connection.rollback()
            raise

    def job(self, name: str) -> Job:
        """Return one job.

        Raises:
            UnknownJob: there is none of that id.
        """
        query = f"{_JOB} WHERE jobs.id = ? GROUP BY jobs.id"
        found = self._connection.execute(query, (name,)).fetchone()
        if found is None:
            raise UnknownJob.of(name)
        return _job(found)

    def jobs(
        self, most: int = 1000, tenant: str | None = None, unended_first: bool = False
    ) -> list[Job]:
        """Return the newest jobs, newest first.

        Args:
            most: largest number to return.
            tenant: their owner; None: all.
            unended_first: whether to take running jobs before pending ones, and these before ended
                ones, regardless of age.
        """
        whose, values = ("", ()) if tenant is None else ("WHERE tenant = ?", (tenant,))
        order = "state != 'RUNNING', state != 'PENDING'," if unended_first else ""
        newest = f"SELECT id FROM jobs {whose} ORDER BY {order} created DESC, id LIMIT ?"
        found = self._jobs_where(f"jobs.id IN ({newest})", (*values, most))
        return sorted(found, key=lambda job: (-job.created, job.id))

    def parts(self, name: str) -> list[Part]:
        """Return the complete files of a job, without its manifest, in their order."""
        return [part for part in self.files(name) if part.rows]

    def files(self, name: str) -> list[Part]:
        """Return the complete files of a job: rows, then descriptions, its manifest last.

        Empty for a failed or cancelled job.
        """
        rows = self._connection.execute(
            f"{_PART} WHERE job = ? AND shards.state = 'DONE' "
            "AND jobs.state NOT IN ('FAILED', 'CANCELLED') "
            "ORDER BY shards.rows = 0, shards.name = '', number",
            (name,),
        )
        return [_part(each) for each in rows]

    def part(self, name: str, number: int) -> Part | None:
        """Return one file of a job, by its shard's number; None: it is not complete."""
        found = self._connection.execute(
            f"{_PART} WHERE job = ? AND number = ? AND rows > 0 AND shards.state = 'DONE'",
            (name, number),
        ).fetchone()
        return None if found is None else _part(found)

    def leading(self, name: str) -> int:
        """Return how many of a job's files are complete up to the first that is not."""
        found = self._connection.execute(
            "SELECT min(number) FROM shards WHERE job = ? AND rows > 0 AND state != 'DONE'", (name,)
        ).fetchone()[0]
        return len(self.job(name).plan) if found is None else int(found)

    def _end(self, job: Job, event: JobEvent, reason: str) -> None:
        self._connection.execute(
            # Rows to complete are no longer needed, and may be large.
            "UPDATE jobs SET state = ?, reason = ?, waiting = '', finished = ?, conditions = x'' "
            "WHERE id = ?",
            (follows(job.state, event), reason, self._clock(), job.id),
        )

    def _jobs_where(self, holds: str, values: Sequence[Any]) -> list[Job]:
        query = f"{_JOB} WHERE {holds} GROUP BY jobs.id ORDER BY jobs.created"
        return [_job(each) for each in self._connection.execute(query, values)]

    def _count(self, name: Count, label: str = "", table: str = "", number: int = 1) -> None:
        """Add to a count within the transaction of the event, so that it is counted once."""
        self._connection.execute(
            "INSERT INTO counts (name, of_table, label, number) VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET number = number + excluded.number",
            (name, table, label, number),
        )

    def has_changed(self) -> bool:
        """Return whether another connection has changed anything since the last call."""
        now = self._connection.execute("PRAGMA data_version").fetchone()[0]
        before, self._seen = self._seen, now
        return bool(now != before)


def _part(row: sqlite3.Row) -> Part:
    shard = Shard(row["number"], row["first_row"], row["rows"], row["rows_folder"])
    return Part(
        name=shard.name if shard.rows else row["name"] or MANIFEST,
        first_row=shard.first,
        rows=shard.rows,
        bytes=row["bytes"],
        sha256=row["sha256"],
    )


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        specification=Specification.from_json(row["specification"]),
        output=row["output"],
        is_owned=bool(row["is_owned"]),
        state=JobState(row["state"]),
        reason=row["reason"],
        waiting=row["waiting"],
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
        rows_done=row["rows_done"],
        rows_drawn=row["rows_drawn"],
        shards_done=row["shards_done"],
        shard_rows=row["shard_rows"],
        bytes=row["bytes"],
        waiting_since=row["waiting_since"],
        tries=row["tries"],
        waited=row["waited"],
        is_begun=bool(row["is_begun"]),
        is_clean=bool(row["is_clean"]),
        facts=ReleaseFacts.from_json(row["facts"]) if row["facts"] else None,
        rows_folder=row["rows_folder"],
        tenant=row["tenant"],
    )
