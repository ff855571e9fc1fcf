"""Leases: who makes which file of a job's results, and what becomes of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Protocol

from cascade_jobs.errors import Cause, JobsError, LeaseLost
from cascade_jobs.job import Job, Lease, Part
from cascade_jobs.ledger.counting import Count
from cascade_jobs.ledger.file import OPEN, LedgerFile
from cascade_jobs.states import JobEvent, JobState, follows

# Leases of one file after which nobody is given another: whatever makes it ends its process.
MOST_LEASES = 100
# Seconds after which it is asked again what could not be decided.
ASK_AGAIN = 30.0
# Seconds between two tries that count as having waited at most: who tries may have been stopped for
# days, and a clock may have been set.
LONGEST_GAP = 600.0
# No rest between two tries is longer, and no lease; what says so was written by a clock that was
# ahead.
FARTHEST = 7200.0
# Of a job that a decision keeps back: since when it has not gone on. No try of its own failed, and
# how long it is held counts towards nobody's patience.
_SINCE = (
    "waiting_since = CASE waiting_since WHEN 0 THEN ? ELSE waiting_since END, tries = 0, "
    "waited = 0, tried_at = 0"
)


class Decision(Protocol):
    """Whether somebody may run a job, and why."""

    @property
    def may_run(self) -> bool: ...
    @property
    def why(self) -> str: ...


class Rules(Protocol):
    """What holds at one time of whoever asks for a lease."""

    @property
    def key(self) -> str:
        """Another one when decisions may be others."""

    def decide(self, job: Job) -> Decision:
        """Whether it may run a job; raises JobsError or OSError where it cannot be decided now."""


class Gate(Protocol):
    """Says of jobs whether whoever asks for a lease may run them."""

    def now(self) -> Rules:
        """What holds now; raises JobsError where that cannot be said."""


class Leases(LedgerFile):
    """What executors ask of the ledger."""

    def claim(
        self,
        owner: str,
        seconds: float,
        is_gone: Callable[[str], bool] = lambda _: False,
        gate: Gate | None = None,
        was_dismissed: Callable[[str], bool] = lambda _: False,
    ) -> Lease | None:
        """Take the lease of a file that nobody makes; None: there is none now.

        Jobs take turns, file by file, so that a small one need not wait for the end of a large one.

        Args:
            owner: who makes it.
            seconds: how long the lease is good for, unless it is renewed.
            is_gone: whether another owner is known to be no more.
            gate: whether whoever makes it may; None: all may.
            was_dismissed: whether another owner was ended on purpose: its leases are put back, and
                not lost.
        """
        with self._transaction() as sql:
            now = self._clock()
            others = sql.execute("SELECT DISTINCT owner FROM shards WHERE state = 'LEASED'")
            # All of theirs at once: of who is gone nobody can be asked a second time.
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
            # What waits for no file of its own has waited for a decision, which is another one now.
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
        """Have nobody make the files of an owner that is no more."""
        changed = self._connection.execute(
            "UPDATE shards SET state = 'WAITING', owner = '', drawn = 0, leases = leases - ? "
            "WHERE state = 'LEASED' AND owner = ? "
            f"AND job IN (SELECT id FROM jobs WHERE state IN {OPEN})",
            (was_dismissed, owner),
        )
        if changed.rowcount and not was_dismissed:
            self._count(Count.LEASES_LOST, number=changed.rowcount)

    def _free(self, now: float, gate: Gate | None) -> sqlite3.Row | None:
        """A file that nobody makes, of a job that the gate lets through."""
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
        """Have jobs that wait for other rules say so: these may have held before, and others, or a
        file that could not be made, in between."""
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
        """Whether rules let a job through; they are asked once."""
        key, now = rules.key, self._clock()
        found = self._connection.execute(
            "SELECT may_run FROM decisions WHERE job = ? AND key = ?", (name, key)
        ).fetchone()
        if found is not None:
            return bool(found["may_run"])
        try:
            decision = rules.decide(self.job(name))
        except (JobsError, OSError) as exc:
            # It is asked again in a while; what it cannot decide is not done.
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
        """There was nothing in a job's output, and there may be files of it from now on.

        Raises:
            LeaseLost: as `renew`.
        """
        with self._transaction() as sql:
            self._check_held(lease)
            sql.execute("UPDATE jobs SET is_begun = 1 WHERE id = ?", (lease.job.id,))

    def renew(self, lease: Lease, drawn: int, seconds: float) -> None:
        """Go on with a file: `drawn` rows of it are made.

        Raises:
            LeaseLost: it is somebody else's now, or its job has ended.
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
        """A file is whole.

        Args:
            lease: of the file.
            sha256, size: of what it holds.
            publish: gives the file its name. Nobody can take over the lease meanwhile.
            beside: with a manifest, what else says something of the files and has its name already.

        Raises:
            LeaseLost: it is somebody else's now, or its job has ended; nothing was published.
            OSError: as `publish` raises it; nothing is written down.
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
        """A file cannot be made now: nobody is to try before `retry_at`. A lease that is lost
        already changes nothing.

        Args:
            lease: of the file.
            waiting: what its job waits for.
            retry_at: on the ledger's clock.
            cause: of that, by which it is counted.
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
        """Whoever makes a file is asked to stop: somebody else may make it at once. A lease that is
        lost already changes nothing."""
        with self._transaction():
            self._let_go(lease)

    def fail(self, lease: Lease, reason: str, cause: Cause = Cause.OTHER) -> None:
        """A job cannot succeed. A lease that is lost already changes nothing."""
        with self._transaction():
            try:
                self._check_held(lease)
            except LeaseLost:
                return
            self._end(lease.job, JobEvent.FAILED, reason)
            self._count(Count.FAILURES, cause)

    def _let_go(self, lease: Lease) -> bool:
        """Have nobody make a file; False: it is somebody else's already."""
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
