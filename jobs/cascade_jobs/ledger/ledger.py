"""The ledger: which jobs exist, which executors make their files, and which files are complete.

It is one SQLite file in the server's state folder. Each change is one transaction that takes the
writer's lock at its begin, so that of two concurrent decisions the second sees the result of the
first. A result file is made under a lease: for a limited time, by one owner, with a fencing number
that grows with each lease. An executor that was paused until another took over has an older number,
and its result is refused. The end of an owner on this machine is detected at once (see `owners`),
that of others when their lease expires.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import product

from cascade_jobs.errors import AlreadyEnded, SpecificationRefused, TokenTaken, TooManyJobs
from cascade_jobs.facts import ReleaseFacts
from cascade_jobs.job import Job
from cascade_jobs.ledger.counting import Count, JobStatistics
from cascade_jobs.ledger.file import OPEN
from cascade_jobs.ledger.leases import FARTHEST, Leases
from cascade_jobs.shards import ROWS_FOLDER, Plan
from cascade_jobs.specification import Specification
from cascade_jobs.states import JobEvent, JobState

NAME = "jobs.sqlite"


@dataclass(frozen=True)
class Limits:
    """Limits on jobs.

    Attributes:
        jobs: unfinished jobs at once.
        bytes: of results in the server's own folder.
    """

    jobs: int
    bytes: int


@dataclass(frozen=True)
class Asked:
    """A checked request for a job.

    Attributes:
        specification: what it is to make.
        shard_rows: of its plan.
        token: the client's idempotency token, which stands for this one job however often it is
            sent; "": none.
        conditions: the rows to complete, as they were sent; empty: there are none.
        fresh: whether to make it even if a job with the same specification exists.
        facts: about its release; None: unknown.
        tenant: its owner; "": access is not configured.
        any_version: whether no version was named, so that the default version was used.
    """

    specification: Specification
    shard_rows: int
    token: str = ""
    conditions: bytes = b""
    fresh: bool = False
    facts: ReleaseFacts | None = None
    tenant: str = ""
    any_version: bool = False

    def is_meant_by(self, other: Specification) -> bool:
        """Return whether an existing job with the same token is this request.

        This holds even if the default version has changed since, if the request named no version.
        """
        made = self.specification
        same = replace(made, version=other.version, release=other.release)
        return self.any_version and same.digest == other.digest

    @property
    def stored_token(self) -> str | None:
        """The token in the ledger; tenants have separate namespaces."""
        if not self.token:
            return None
        return f"{self.tenant}\n{self.token}" if self.tenant else self.token


@dataclass(frozen=True)
class Remains:
    """Remains of earlier results, as found before a job is recorded.

    Attributes:
        gone: finished jobs whose results are no longer complete: they are not reused.
        cleared: finished jobs whose files have all disappeared: other jobs may write there.
        is_taken: whether anything exists at the job's output, whoever wrote it.
    """

    gone: Collection[str] = ()
    cleared: Collection[str] = ()
    is_taken: bool = False


class Ledger(Leases):
    """The jobs of one state folder; see `LedgerFile` for how it is opened."""

    def done_like(self, specification: Specification, tenant: str = "") -> list[Job]:
        """Return a tenant's finished jobs whose results may match the request, the newest first.

        The caller must first check that the results still exist.
        """
        found = self._jobs_where(
            "jobs.state = 'DONE' AND digest = ? AND tenant = ?", (specification.digest, tenant)
        )
        return found[::-1]

    def done_at(self, output: str) -> list[str]:
        """Return ids of finished jobs whose files are at an output."""
        found = self._connection.execute(
            "SELECT id FROM jobs WHERE state = 'DONE' AND output = ?", (output,)
        )
        return [each["id"] for each in found]

    def submit(
        self,
        asked: Asked,
        output_of: Callable[[str], tuple[str, bool]],
        limits: Limits,
        remains: Remains = Remains(),
        admit: Callable[[Job], None] = lambda _: None,
    ) -> tuple[Job, bool]:
        """Record a job, unless a matching one exists.

        Args:
            asked: the request.
            output_of: returns, for the job's id, where its results go, and whether that is the
                server's own folder.
            limits: on jobs.
            remains: of earlier results.
            admit: raises to refuse a job that no executor may run; not called for an existing job.

        Returns:
            The job, and whether it existed before.

        Raises:
            TokenTaken: the token stands for another specification.
            TooManyJobs: a limit is reached.
            SpecificationRefused: another job's results are at the output.
            Exception: from `admit`; nothing is recorded.
        """
        specification, digest = asked.specification, asked.specification.digest
        with self._transaction() as sql:
            if asked.token:
                found = sql.execute(
                    "SELECT id, digest, specification FROM jobs WHERE token = ?",
                    (asked.stored_token,),
                ).fetchone()
                if found is not None:
                    if found["digest"] != digest and not asked.is_meant_by(
                        Specification.from_json(found["specification"])
                    ):
                        raise TokenTaken(
                            f"token {asked.token[:80]!r} stands for job {found['id']}, which was "
                            "asked for with another specification; take a new token for a new job"
                        )
                    return self.job(found["id"]), True
            if not asked.fresh:
                for each in sql.execute(
                    "SELECT id FROM jobs WHERE digest = ? AND tenant = ? AND state IN ('DONE', "
                    "'RUNNING', 'PENDING') ORDER BY created DESC",
                    (digest, asked.tenant),
                ).fetchall():
                    if each["id"] not in remains.gone:
                        return self.job(each["id"]), True
            name = self._new_id()
            output, is_owned = output_of(name)
            self._check_room(limits, is_owned)
            self._check_output(output, asked, remains)
            sql.execute(
                "INSERT INTO jobs (id, token, digest, specification, conditions, output, is_owned, "
                "state, created, shard_rows, rows_folder, facts, tenant) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(name, asked.stored_token, digest, specification.to_json()),
                    *(asked.conditions, output, is_owned, JobState.PENDING, self._clock()),
                    *(
                        asked.shard_rows,
                        ROWS_FOLDER,
                        "" if asked.facts is None else asked.facts.to_json(),
                        asked.tenant,
                    ),
                ),
            )
            plan = Plan(specification.rows, asked.shard_rows)
            shards = [(name, each.number, each.first, each.rows) for each in plan]
            shards.append((name, len(plan), specification.rows, 0))
            sql.executemany(
                "INSERT INTO shards (job, number, first_row, rows) VALUES (?, ?, ?, ?)", shards
            )
            job = self.job(name)
            admit(job)
            return job, False

    def _check_room(self, limits: Limits, is_owned: bool) -> None:
        query = f"SELECT count(*) FROM jobs WHERE state IN {OPEN}"
        waiting = self._connection.execute(query).fetchone()[0]
        if waiting >= limits.jobs:
            raise TooManyJobs(
                f"{waiting} jobs have not ended, and max_jobs allows {limits.jobs}; wait for one "
                "of them, or cancel one"
            )
        # The limit does not apply to results that go elsewhere.
        if is_owned and (used := self.owned_bytes()) >= limits.bytes:
            raise TooManyJobs(
                f"results take {used:,} bytes, and job_disk_mib allows {limits.bytes:,}; they go "
                "job_days after their jobs have ended"
            )

    def _check_output(self, output: str, asked: Asked, remains: Remains) -> None:
        asked_for = asked.specification.output
        ids = json.dumps(sorted(remains.cleared))
        found = self._connection.execute(
            "SELECT id, tenant FROM jobs WHERE output = ? AND NOT is_clean "
            "AND NOT (state = 'DONE' AND id IN (SELECT value FROM json_each(?)))",
            (output, ids),
        ).fetchone()
        if found is not None:
            raise SpecificationRefused(
                f"output {output} has the results of {_named(found, asked)}; name another folder"
            )
        if remains.is_taken:
            raise SpecificationRefused(
                f"output {asked_for or output} is there and is not empty; allowed: a folder or URL "
                "that is empty, or a file that is not there yet"
            )
        # Two jobs could both find an empty output, and a folder within another job's would be read
        # as a part of it. Finished jobs do not matter here: their files were found before.
        for each in self._connection.execute(
            "SELECT id, tenant, output, json_extract(specification, '$.output') AS asked_for "
            "FROM jobs WHERE state != 'DONE' AND NOT is_clean"
        ):
            theirs = (each["asked_for"], each["output"])
            if any(_is_within(*pair) for pair in product((asked_for, output), theirs)):
                raise SpecificationRefused(
                    f"output {asked_for or output} has what {_named(each, asked)} writes, or is a "
                    "folder of it or around it; wait for its end, or name another one"
                )

    def cancel(self, name: str, reason: str) -> Job:
        """Cancel an unfinished job; a cancelled one stays so.

        Raises:
            UnknownJob: there is none of that id.
            AlreadyEnded: it is done, or has failed.
        """
        with self._transaction():
            job = self.job(name)
            if job.state is JobState.CANCELLED:
                return job
            if job.state.is_final:
                raise AlreadyEnded(f"job {name} is {job.state} and cannot be cancelled")
            self._end(job, JobEvent.CANCELLED, reason)
            return self.job(name)

    # What is kept, and for how long.

    def owned_bytes(self) -> int:
        """Return the bytes of results in the server's own folder."""
        found = self._connection.execute(
            "SELECT coalesce(sum(shards.bytes), 0) FROM shards JOIN jobs ON jobs.id = shards.job "
            "WHERE jobs.is_owned AND NOT jobs.is_clean"
        )
        return int(found.fetchone()[0])

    def statistics(self) -> JobStatistics:
        """Return the numbers of jobs and of events, consistent at one time."""
        sql, now = self._connection, self._clock()
        sql.execute("BEGIN")
        try:
            states = dict.fromkeys(JobState, 0)
            for each in sql.execute("SELECT state, count(*) FROM jobs GROUP BY state"):
                states[JobState(each[0])] = each[1]
            # Jobs that the policy holds back do not count as late.
            pending = sql.execute(
                "SELECT min(created) FROM jobs WHERE state = 'PENDING' AND NOT EXISTS (SELECT 1 "
                "FROM decisions WHERE decisions.job = jobs.id AND NOT decisions.may_run "
                "AND decisions.why = jobs.waiting)"
            )
            oldest = pending.fetchone()[0]
            waiting, since = sql.execute(
                "SELECT count(*), min(CASE waiting_since WHEN 0 THEN NULL ELSE waiting_since END) "
                f"FROM jobs WHERE state IN {OPEN} AND waiting != ''"
            ).fetchone()
            return JobStatistics(
                states=states,
                waiting=waiting,
                oldest_pending=0.0 if oldest is None else max(0.0, now - oldest),
                oldest_waiting=0.0 if since is None else max(0.0, now - since),
                bytes=self.owned_bytes(),
                counts={
                    (Count(each["name"]), each["of_table"], each["label"]): each["number"]
                    for each in sql.execute("SELECT * FROM counts")
                },
            )
        finally:
            sql.execute("COMMIT")

    def to_clean(self, is_gone: Callable[[str], bool] = lambda _: False) -> Job | None:
        """Return a failed or cancelled job whose files still exist; None: there is none.

        A job with a live lease is left until its executor has noticed and released it.

        Args:
            is_gone: returns whether an owner of leases has ended.
        """
        for each in self._connection.execute(
            "SELECT id FROM jobs WHERE state IN ('FAILED', 'CANCELLED') AND NOT is_clean"
        ).fetchall():
            owners = self._connection.execute(
                "SELECT DISTINCT owner FROM shards WHERE job = ? AND state = 'LEASED' "
                "AND until > ? AND until <= ?",
                (each["id"], (now := self._clock()), now + FARTHEST),
            ).fetchall()
            if all(is_gone(owner["owner"]) for owner in owners):
                return self.job(each["id"])
        return None

    def cleaned(self, name: str) -> None:
        """Record that the files of a failed or cancelled job were removed."""
        with self._transaction() as sql:
            sql.execute("UPDATE jobs SET is_clean = 1 WHERE id = ?", (name,))

    def to_forget(self, seconds: float) -> Job | None:
        """Return a job that ended at least `seconds` ago and needs no cleaning; None: there is
        none.
        """
        return self._one_where(
            "finished > 0 AND finished <= ? AND (state = 'DONE' OR is_clean)",
            (self._clock() - seconds,),
        )

    def _one_where(self, holds: str, values: Sequence[object]) -> Job | None:
        """Return one of the jobs that satisfy a condition, found by an index."""
        query = f"SELECT id FROM jobs WHERE {holds} LIMIT 1"
        found = self._connection.execute(query, values).fetchone()
        return None if found is None else self.job(found["id"])

    def forget(self, name: str) -> None:
        """Delete a job from the ledger."""
        with self._transaction() as sql:
            sql.execute("DELETE FROM jobs WHERE id = ?", (name,))

    def next_work(self, forget_seconds: float, key: str = "") -> float | None:
        """Return the latest time, on the ledger's clock, at which to look for work; None: there is
        none.

        An unfinished job may have work now, whoever has its leases.

        Args:
            forget_seconds: time after which an ended job is forgotten.
            key: of a gate's decisions: jobs that it holds back are no work.
        """
        found = self._connection.execute(
            f"""
            SELECT min(CASE
                WHEN state IN {OPEN} THEN iif(retry_at > :far, 0, retry_at)
                WHEN state = 'DONE' OR is_clean THEN finished + :forget
                ELSE 0 END)
            FROM jobs WHERE NOT (state IN {OPEN} AND EXISTS (SELECT 1 FROM decisions
                WHERE decisions.job = jobs.id AND decisions.key = :key AND NOT decisions.may_run))
            """,
            {"far": self._clock() + FARTHEST, "forget": forget_seconds, "key": key},
        ).fetchone()[0]
        return None if found is None else float(found)


def _is_within(one: str, other: str) -> bool:
    """Return whether two outputs are equal, or one is inside the other; "" is nowhere."""
    one, other = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return len(min(one, other, key=len)) > 1 and (one.startswith(other) or other.startswith(one))


def _named(found: sqlite3.Row, asked: Asked) -> str:
    """Name a job for the owner of another: only its own tenant sees the id."""
    return f"job {found['id']}" if found["tenant"] == asked.tenant else "another job"
