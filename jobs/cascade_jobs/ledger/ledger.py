"""The ledger: which jobs there are, who makes which of their files, and which files are whole.

It is one SQLite file in the server's state folder. Each change is one transaction that takes the
writer's lock at its begin, so that of two who decide at once the second sees what the first did. A
file of results is made under a lease: for a while, by one owner, with a number that grows with each
lease. Who was paused for so long that somebody else took over has an older number, and what it made
is refused. An owner of this machine that is gone is known at once (see `owners`), others when their
time is over.
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
    """What jobs may take.

    Attributes:
        jobs: that have not ended, at once.
        bytes: of results in the server's own folder.
    """

    jobs: int
    bytes: int


@dataclass(frozen=True)
class Asked:
    """A job that is asked for, checked.

    Attributes:
        specification: what it is to make.
        shard_rows: of its plan.
        token: of the client's choosing, which stands for this one job however often it is asked
            for; "": none.
        conditions: the rows to complete, as they were sent; empty: there are none.
        fresh: whether to make it though there is a job of the same specification.
        facts: what is known of its release; None: nothing.
        tenant: whose it is to be; "": nobody was asked who they are.
        any_version: whether no version was named, so that it is of the one that answers now.
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
        """Whether a job of the same token is what is asked for once more, though another version
        answers by now: whoever named none has not asked for another job."""
        made = self.specification
        same = replace(made, version=other.version, release=other.release)
        return self.any_version and same.digest == other.digest

    @property
    def stored_token(self) -> str | None:
        """The token as the ledger has it: tenants choose theirs without knowing of each other."""
        if not self.token:
            return None
        return f"{self.tenant}\n{self.token}" if self.tenant else self.token


@dataclass(frozen=True)
class Remains:
    """What is left of earlier results, as somebody saw who looked before a job is written down.

    Attributes:
        gone: jobs that are done, and whose results are not all there any more: they are not reused.
        cleared: jobs that are done, and where their files were there is nothing any more: others
            may write there.
        is_taken: whether there is something where the job's files are to go, whosever it is.
    """

    gone: Collection[str] = ()
    cleared: Collection[str] = ()
    is_taken: bool = False


class Ledger(Leases):
    """The jobs of one state folder; see `LedgerFile` for how it is opened."""

    def done_like(self, specification: Specification, tenant: str = "") -> list[Job]:
        """A tenant's jobs that are done and whose results may be what is asked for, the newest
        first: whoever submits looks first whether they are still there."""
        found = self._jobs_where(
            "jobs.state = 'DONE' AND digest = ? AND tenant = ?", (specification.digest, tenant)
        )
        return found[::-1]

    def done_at(self, output: str) -> list[str]:
        """Ids of jobs that are done, and whose files are at an output."""
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
        """Write a job down, unless there is one already that is meant.

        Args:
            asked: the job.
            output_of: by the job's id where its results go, and whether that is the server's own
                folder.
            limits: what there may be.
            remains: what is left of earlier results.
            admit: refuses a job that nobody may run, by raising; of one that was there it is not
                asked.

        Returns:
            The job, and whether it was there before.

        Raises:
            TokenTaken: the token stands for another specification.
            TooManyJobs: there is no room for one more.
            SpecificationRefused: another job's results are where these are to go.
            Exception: as `admit` raises it; nothing is written down.
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
        # Whose files go elsewhere takes none of it.
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
        # Where nothing is yet two jobs would both see that; and a folder within another one's would
        # be read as a part of it. Who is done is not asked about: what is there by now, the next
        # one sees.
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
        """End a job that has not ended; one that was cancelled stays so.

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
        """Bytes of results in the server's own folder."""
        found = self._connection.execute(
            "SELECT coalesce(sum(shards.bytes), 0) FROM shards JOIN jobs ON jobs.id = shards.job "
            "WHERE jobs.is_owned AND NOT jobs.is_clean"
        )
        return int(found.fetchone()[0])

    def statistics(self) -> JobStatistics:
        """How many jobs there are, and what has happened; at one time, whoever writes meanwhile."""
        sql, now = self._connection, self._clock()
        sql.execute("BEGIN")
        try:
            states = dict.fromkeys(JobState, 0)
            for each in sql.execute("SELECT state, count(*) FROM jobs GROUP BY state"):
                states[JobState(each[0])] = each[1]
            # Whom the policy keeps waiting is late by nobody's fault.
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
        """A job that came to nothing, and whose files are still there; None: there is none. One of
        which somebody still makes a file is left until that is told so and has let go of it.

        Args:
            is_gone: whether an owner of leases makes nothing any more.
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
        """The files of a job that came to nothing are gone."""
        with self._transaction() as sql:
            sql.execute("UPDATE jobs SET is_clean = 1 WHERE id = ?", (name,))

    def to_forget(self, seconds: float) -> Job | None:
        """A job that ended so long ago, and is not to be cleaned; None: there is none."""
        return self._one_where(
            "finished > 0 AND finished <= ? AND (state = 'DONE' OR is_clean)",
            (self._clock() - seconds,),
        )

    def _one_where(self, holds: str, values: Sequence[object]) -> Job | None:
        """One of the jobs of which something holds, found by an index."""
        query = f"SELECT id FROM jobs WHERE {holds} LIMIT 1"
        found = self._connection.execute(query, values).fetchone()
        return None if found is None else self.job(found["id"])

    def forget(self, name: str) -> None:
        """There never was such a job."""
        with self._transaction() as sql:
            sql.execute("DELETE FROM jobs WHERE id = ?", (name,))

    def next_work(self, forget_seconds: float, key: str = "") -> float | None:
        """When there is something to do, on the ledger's clock, at the latest; None: there is
        nothing. A job that has not ended may have work now, whoever has its leases.

        Args:
            forget_seconds: after which a job that has ended is forgotten.
            key: of a gate's decisions: jobs that it does not let through are no work.
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
    """Whether two outputs are the same, or one is a folder within the other; "" is nowhere."""
    one, other = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return len(min(one, other, key=len)) > 1 and (one.startswith(other) or other.startswith(one))


def _named(found: sqlite3.Row, asked: Asked) -> str:
    """A job, for who asks for another: its id is for its own tenant."""
    return f"job {found['id']}" if found["tenant"] == asked.tenant else "another job"
