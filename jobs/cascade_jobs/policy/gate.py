"""Enforcement of the policy file for jobs; every decision is recorded in the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_tables.errors import FileRefused

from cascade_jobs.audit.log import AuditLog
from cascade_jobs.errors import PolicyForbids, PolicyRefused
from cascade_jobs.facts import Terms
from cascade_jobs.job import Job
from cascade_jobs.policy.decision import (
    Decision,
    Work,
    as_mapping,
    decide,
    decide_all,
    explained,
    some_may,
)
from cascade_jobs.policy.policy import LOCAL, Policy, parse_policy


class PolicyFile:
    """A policy file, read again whenever it has changed.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: tuple[Policy | None, tuple[int, ...]] = None, ()

    def current(self) -> Policy:
        """Return the current policy.

        Raises:
            PolicyRefused: the file cannot be read, or is invalid. The previous policy is not used:
                it may be what the change was meant to end.
        """
        try:
            found = self._path.stat()
        except OSError as exc:
            raise PolicyRefused(f"{self._path} cannot be read: {exc.strerror}") from exc
        now = found.st_mtime_ns, found.st_size, found.st_ino
        # Several threads may read at once; then each reads the file.
        policy, seen = self._found
        if policy is None or now != seen:
            self._found = None, ()
            policy = read_policy(self._path)
            self._found = policy, now
        return policy


def read_policy(path: Path) -> Policy:
    """Read a policy file; raises PolicyRefused if it is invalid or unreadable."""
    from cascade_tables.yaml_files import read_text

    try:
        text = read_text(path)
    except FileRefused as exc:
        raise PolicyRefused(str(exc)) from exc
    return parse_policy(text, str(path))


@dataclass(frozen=True)
class Rules:
    """A policy at one time, for one executor.

    Attributes:
        policy: the policy.
        audit: the log of decisions.
        executor: its name.
    """

    policy: Policy
    audit: AuditLog
    executor: str

    @property
    def key(self) -> str:
        """Identifies decisions by this policy about this executor."""
        return f"{self.executor}@{self.policy.digest}"

    def decide(self, job: Job) -> Decision:
        """Decide whether the executor may run a job; the decision is in the log when this returns.

        Raises:
            AuditRefused, OSError: it cannot be recorded.
        """
        work = Work.of_job(job)
        decision = decide(work, self.executor, self.policy)
        event = "may run" if decision.may_run else "may not run"
        self.audit.append({"event": event, **_what(job, work, self.policy), **as_mapping(decision)})
        return decision


class Gate:
    """Decides about jobs, for one executor and at submission; each decision is in the audit log
    before it takes effect.

    Args:
        policies: of the server.
        audit: the log.
        executor: which asks for work.
    """

    def __init__(self, policies: PolicyFile, audit: AuditLog, executor: str = LOCAL) -> None:
        self._policies, self._audit, self._executor = policies, audit, executor

    def now(self) -> Rules:
        """Return the executor's current rules; raises PolicyRefused."""
        return Rules(self._policies.current(), self._audit, self._executor)

    def decisions(self, job: Job) -> tuple[Decision, ...]:
        """Return the current decision for each executor, without recording it.

        If the policy cannot be read, no executor may run the job.
        """
        try:
            policy = self._policies.current()
        except PolicyRefused as exc:
            return (Decision(self._executor, "", False, (str(exc),)),)
        return decide_all(Work.of_job(job), policy)

    def terms(self, table: str) -> Terms:
        """Return the terms of a table's synthetic rows; raises PolicyRefused."""
        return self._policies.current().terms(table)

    def admit(self, job: Job) -> None:
        """Admit a job if some executor may run it.

        Raises:
            PolicyForbids: none may; this is recorded too.
            PolicyRefused, AuditRefused, OSError: the decision is impossible, or cannot be recorded.
        """
        policy, work = self._policies.current(), Work.of_job(job)
        decisions = decide_all(work, policy)
        may = some_may(decisions)
        self._audit.append(
            {
                "event": "submitted" if may else "refused",
                **_what(job, work, policy),
                "allowed": may,
                "executors": [as_mapping(each) for each in decisions],
                "reasons": [] if may else [each.why for each in decisions],
            }
        )
        if not may:
            raise PolicyForbids(
                f"no executor may run a job of {work.table}, by the server's policy: "
                f"{explained(decisions)}"
            )


def _what(job: Job, work: Work, policy: Policy) -> Mapping[str, Any]:
    made = job.specification
    return {
        "job": job.id,
        **({"tenant": job.tenant} if job.tenant else {}),
        "specification": made.digest,
        "table": made.table,
        "version": made.version,
        "release": made.release,
        "epsilon": work.epsilon,
        "payload": str(work.payload),
        "policy": policy.digest,
    }
