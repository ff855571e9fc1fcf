"""Leases: which executor makes which file of a job's results, and how the lease ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Protocol

from cascade_jobs.errors import Cause, JobsError, LeaseLost
from cascade_jobs.job import Job, Lease, Part
from cascade_jobs.ledger.counting import Count
from cascade_jobs.ledger.file import OPEN, LedgerFile
from cascade_jobs.states import JobEvent, JobState, follows

# Most leases of one file: if they are used up, something in it kills every process that makes it.
MOST_LEASES = 100
# Seconds until an impossible decision is retried.
ASK_AGAIN = 30.0
# Most seconds between two attempts that count as waiting: the executor may have been stopped for
# days, or a clock may have been set.
LONGEST_GAP = 600.0
# Upper bound of rests between attempts and of leases; a later time was written by a fast clock.
FARTHEST = 7200.0
# Start of the wait of a job held back by a decision. None of its own attempts failed, so this time
# does not count towards its patience.
_SINCE = (
    "waiting_since = CASE waiting_since WHEN 0 THEN ? ELSE waiting_since END, tries = 0, "
    "waited = 0, tried_at = 0"
)


class Decision(Protocol):
    """Whether an executor may run a job, and why."""

    @property
    def may_run(self) -> bool: ...
    @property
    def why(self) -> str: ...


class Rules(Protocol):
    """Rules for an executor at one time."""

    @property
    def key(self) -> str:
        """Changes whenever decisions may change."""

    def decide(self, job: Job) -> Decision:
        """Decide whether the executor may run a job; raise JobsError or OSError if that is
        impossible now.
        """


class Gate(Protocol):
    """Source of the rules for an executor."""

    def now(self) -> Rules:
        """Return the current rules; raise JobsError if they are unavailable."""


class Leases(LedgerFile):
    """The ledger's operations for executors."""

    def claim(
        self,
        owner: str,
        seconds: float,
        is_gone: Callable[[str], bool] = lambda _: False,
        gate: Gate | None = None,
        was_dismissed: Callable[[str], bool] = lambda _: False,
    ) -> Lease | None:
        """Take the lease of a file that no executor is making; None: there is none now.

        Jobs take turns, file by file, so that a small job need not wait for the end of a large one.

        Args:
            owner: the executor.
            seconds: duration of the lease, unless it is renewed.
            is_gone: returns whether another owner is known to have ended.
            gate: decides whether the executor may run a job; None: all are allowed.
            was_dismissed: returns whether another owner was ended on purpose: its leases are
                returned and do not count as lost.
        """
        with self._transaction() as sql:
            now = self._clock()
            others = sql.execute("SELECT DISTINCT owner FROM shards WHERE state = 'LEASED'")
            # All of its leases at once: a second query about a gone owner is impossible.
            for each in others.fetchall():
                if is_gone(each["owner"]):
                    self._take_back(each["owner"], was_dismissed(each["owner"]))
            found = self._free(now, gate)
            if found is None:
                return None
            job = self.job(found["job"])
            if found["state"] == "LEASED" and not was_dismissed(found["owner"]):
                self._count(Count.LEASES_LOST)
            if found["leases"] >= MOST_LEASES:
                where = f"rows {found['first_row']:,} to {found['first_row'] + found['rows']:,}"
                why = f"who made {where} ended {MOST_LEASES} times; the server's log may say why"
                self._end(job, JobEvent.FAILED, why)
                self._count(Count.FAILURES, Cause.KILLED)
                return None
            fence = sql.execute("UPDATE fences SET last = last + 1 RETURNING last").fetchone()[0]
            sql.execute(
                "UPDATE shards SET state = 'LEASED', owner = ?, fence = ?, until = ?, drawn = 0, "
                "leases = leases + 1 WHERE job = ? AND number = ?",
                (owner, fence, now + seconds, job.id, found["number"]),
            )
            # A job without a failed file of its own was waiting for a decision, which has now
            # changed.
            sql.execute(
                "UPDATE jobs SET waiting = '', waiting_since = 0 WHERE id = ? AND tries = 0",
                (job.id,),
            )
            sql.execute(
                "UPDATE jobs SET state = ?, last_fence = ?, started = CASE started WHEN 0 THEN ? "
                "ELSE started END WHERE id = ?",
                (follows(job.state, JobEvent.CLAIMED), fence, now, job.id),
            )
            conditions = sql.execute("SELECT conditions FROM jobs WHERE id = ?", (job.id,))
            rows = found["rows"]
            shard = job.plan[found["number"]] if rows else None
            return Lease(self.job(job.id), shard, fence, conditions.fetchone()[0])

    def _take_back(self, owner: str, was_dismissed: bool) -> None:
        """Take back the leases of an owner that has ended."""
        changed = self._connection.execute(
            "UPDATE shards SET state = 'WAITING', owner = '', drawn = 0, leases = leases - ? "
            "WHERE state = 'LEASED' AND owner = ? "
            f"AND job IN (SELECT id FROM jobs WHERE state IN {OPEN})",
            (was_dismissed, owner),
        )
        if changed.rowcount and not was_dismissed:
            self._count(Count.LEASES_LOST, number=changed.rowcount)

    def _free(self, now: float, gate: Gate | None) -> sqlite3.Row | None:
        """Return an unleased file of a job that the gate admits."""
        rules = None if gate is None else gate.now()
        key = "" if rules is None else rules.key
        while True:
            found: sqlite3.Row | None = self._connection.execute(
                f"""
                SELECT shards.* FROM shards JOIN jobs ON jobs.id = shards.job
                WHERE jobs.state IN {OPEN} AND (jobs.retry_at <= :now OR jobs.retry_at > :far)
                    AND NOT EXISTS (SELECT 1 FROM decisions WHERE decisions.job = jobs.id
                        AND decisions.key = :key AND NOT decisions.may_run)
                    AND (shards.state = 'WAITING' OR (shards.state = 'LEASED'
                        AND (shards.until <= :now OR shards.until > :far)))
                    AND (shards.rows > 0 OR NOT EXISTS (SELECT 1 FROM shards AS other
                        WHERE other.job = shards.job AND other.rows > 0 AND other.state != 'DONE'))
                ORDER BY jobs.last_fence, jobs.created, jobs.id, shards.number LIMIT 1
                """,
                {"now": now, "far": now + FARTHEST, "key": key},
            ).fetchone()
            if rules is None:
                return found
            if found is None:
                self._say_why(key)
                return None
            if self._passes(found["job"], rules):
                return found

    def _say_why(self, key: str) -> None:
        """Update the reason of jobs that wait under other rules.

        Those may have applied before, with other rules or a failed file in between.
        """
        why = (
            "SELECT why FROM decisions WHERE decisions.job = jobs.id AND decisions.key = ? "
            "AND NOT decisions.may_run"
        )
        self._connection.execute(
            f"UPDATE jobs SET waiting = ({why}), {_SINCE} WHERE state IN {OPEN} "
            f"AND (waiting = '' OR tries > 0) AND EXISTS ({why}) AND NOT EXISTS "
            "(SELECT 1 FROM shards WHERE shards.job = jobs.id AND shards.state = 'LEASED')",
            (key, self._clock(), key),
        )

    def _passes(self, name: str, rules: Rules) -> bool:
        """Return whether rules admit a job, from the stored decision if there is one."""
        key, now = rules.key, self._clock()
        found = self._connection.execute(
            "SELECT may_run FROM decisions WHERE job = ? AND key = ?", (name, key)
        ).fetchone()
        if found is not None:
            return bool(found["may_run"])
        try:
            decision = rules.decide(self.job(name))
        except (JobsError, OSError) as exc:
            # It is retried after a while; an undecided job does not run.
            self._connection.execute(
                f"UPDATE jobs SET waiting = ?, {_SINCE}, retry_at = ? WHERE id = ?",
                (f"it cannot be decided who may run it: {exc}", now, now + ASK_AGAIN, name),
            )
            return False
        why = "" if decision.may_run else f"by the server's policy, {decision.why}"
        self._connection.execute(
            "INSERT INTO decisions (job, key, may_run, why) VALUES (?, ?, ?, ?)",
            (name, key, decision.may_run, why),
        )
        if not decision.may_run:
            self._connection.execute(
                f"UPDATE jobs SET waiting = ?, {_SINCE} WHERE id = ?", (why, now, name)
            )
        return decision.may_run

    def begin(self, lease: Lease) -> None:
        """Record that a job's output was empty, and may have files of the job from now on.

        Raises:
            LeaseLost: as `renew`.
        """
        with self._transaction() as sql:
            self._check_held(lease)
            sql.execute("UPDATE jobs SET is_begun = 1 WHERE id = ?", (lease.job.id,))

    def renew(self, lease: Lease, drawn: int, seconds: float) -> None:
        """Renew the lease of a file, of which `drawn` rows are made.

        Raises:
            LeaseLost: another executor has it now, or its job has ended.
        """
        with self._transaction() as sql:
            self._check_held(lease)
            sql.execute(
                "UPDATE shards SET drawn = ?, until = ? WHERE job = ? AND fence = ?",
                (drawn, self._clock() + seconds, lease.job.id, lease.fence),
            )
            self._goes_on(lease.job.id)

    def commit(
        self,
        lease: Lease,
        sha256: str,
        size: int,
        publish: Callable[[], None] = lambda: None,
        beside: Sequence[Part] = (),
    ) -> None:
        """Record a complete file.

        Args:
            lease: of the file.
            sha256, size: of its content.
            publish: gives the file its name. No other executor can take over the lease meanwhile.
            beside: with a manifest, the descriptions, which have their names already.

        Raises:
            LeaseLost: another executor has it now, or its job has ended; nothing was published.
            OSError: from `publish`; nothing is recorded.
        """
        with self._transaction() as sql:
            self._check_held(lease)
            publish()
            sql.execute(
                "UPDATE shards SET state = 'DONE', owner = '', sha256 = ?, bytes = ?, drawn = rows "
                "WHERE job = ? AND fence = ?",
                (sha256, size, lease.job.id, lease.fence),
            )
            self._goes_on(lease.job.id)
            sql.executemany(
                "INSERT INTO shards (job, number, first_row, rows, state, name, sha256, bytes) "
                "VALUES (?, ?, ?, 0, 'DONE', ?, ?, ?)",
                [
                    (lease.job.id, number, part.first_row, part.name, part.sha256, part.bytes)
                    for number, part in enumerate(beside, len(lease.job.plan) + 1)
                ],
            )
            if lease.shard is not None:
                made = lease.job.specification
                self._count(Count.SHARDS, made.tier, made.table)
                self._count(Count.ROWS, made.tier, made.table, lease.shard.rows)
            if lease.shard is None:
                self._end(self.job(lease.job.id), JobEvent.COMPLETED, "")

    def give_back(
        self, lease: Lease, waiting: str, retry_at: float, cause: Cause = Cause.OTHER
    ) -> None:
        """Return the lease of a file that cannot be made now, to be retried from `retry_at`.

        Does nothing if the lease is already lost.

        Args:
            lease: of the file.
            waiting: what its job waits for.
            retry_at: on the ledger's clock.
            cause: label for counters.
        """
        with self._transaction() as sql:
            if self._let_go(lease):
                self._count(Count.RETRIES, cause)
                sql.execute(
                    "UPDATE jobs SET waiting = :waiting, retry_at = :retry_at, tries = tries + 1, "
                    "waiting_since = CASE waiting_since WHEN 0 THEN :now ELSE waiting_since END, "
                    "waited = waited + CASE tried_at WHEN 0 THEN 0 "
                    "ELSE max(0, min(:now - tried_at, :gap)) END, tried_at = :now "
                    f"WHERE id = :job AND state IN {OPEN}",
                    {
                        "waiting": waiting,
                        "retry_at": retry_at,
                        "now": self._clock(),
                        "gap": LONGEST_GAP,
                        "job": lease.job.id,
                    },
                )

    def put_off(self, lease: Lease) -> None:
        """Return the lease of an executor that is asked to stop: another may take it at once.

        Does nothing if the lease is already lost.
        """
        with self._transaction():
            self._let_go(lease)

    def fail(self, lease: Lease, reason: str, cause: Cause = Cause.OTHER) -> None:
        """Record that a job cannot succeed. Does nothing if the lease is already lost."""
        with self._transaction():
            try:
                self._check_held(lease)
            except LeaseLost:
                return
            self._end(lease.job, JobEvent.FAILED, reason)
            self._count(Count.FAILURES, cause)

    def _let_go(self, lease: Lease) -> bool:
        """Release a file's lease; False: another executor has it already."""
        changed = self._connection.execute(
            "UPDATE shards SET state = 'WAITING', owner = '', drawn = 0, leases = leases - 1 "
            "WHERE job = ? AND fence = ? AND state = 'LEASED'",
            (lease.job.id, lease.fence),
        )
        return changed.rowcount > 0

    def _check_held(self, lease: Lease) -> None:
        found = self._connection.execute(
            "SELECT shards.state, jobs.state AS of_job FROM shards "
            "JOIN jobs ON jobs.id = shards.job WHERE shards.job = ? AND shards.fence = ?",
            (lease.job.id, lease.fence),
        ).fetchone()
        if found is None or found["state"] != "LEASED":
            raise LeaseLost(f"{lease.name} of job {lease.job.id} is somebody else's now")
        if JobState(found["of_job"]).is_final:
            raise LeaseLost(f"job {lease.job.id} is {found['of_job']}")

    def _goes_on(self, name: str) -> None:
        self._connection.execute(
            "UPDATE jobs SET waiting = '', waiting_since = 0, tries = 0, waited = 0, tried_at = 0 "
            "WHERE id = ?",
            (name,),
        )
