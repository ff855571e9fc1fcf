"""Decision of who may run a job: a pure function of job, executor and policy, with its reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cascade_tables.errors import listing

from cascade_jobs.job import Job
from cascade_jobs.policy.policy import ExecutorPolicy, Policy


class Payload(StrEnum):
    """Data that an executor receives, beside numbers of rows and seeds."""

    RELEASE = "release"  # networks and codec, and at most one row that all rows share
    ROWS = "rows"  # rows that a caller has sent, to be completed: these may be real
    TRAINING = "training data"  # the table itself


@dataclass(frozen=True)
class Work:
    """Subject of a decision.

    Attributes:
        table: source of the rows.
        epsilon: of the release's differential privacy; None: no bound is known.
        payload: data that the executor receives.
    """

    table: str
    epsilon: float | None
    payload: Payload = Payload.RELEASE

    @classmethod
    def of_job(cls, job: Job) -> Work:
        """Return what a job passes to its executor."""
        epsilon = None if job.facts is None else job.facts.epsilon
        payload = Payload.ROWS if job.specification.conditions else Payload.RELEASE
        return cls(job.specification.table, epsilon, payload)


@dataclass(frozen=True)
class Decision:
    """Whether an executor may run a job.

    Attributes:
        executor, kind: as in the policy.
        may_run: whether it may.
        reasons: why it may, or everything that speaks against it.
    """

    executor: str
    kind: str
    may_run: bool
    reasons: tuple[str, ...]

    @property
    def why(self) -> str:
        """The reasons in one line, for the user."""
        return f"{self.executor}: {'; '.join(self.reasons)}"


def decide(work: Work, executor: str, policy: Policy) -> Decision:
    """Decide whether an executor may run a job.

    Args:
        work: subject of the decision.
        executor: its name.
        policy: the current policy.
    """
    found = policy.executors.get(executor)
    if found is None:
        known = listing(policy.executors)
        return Decision(executor, "", False, (f"the policy does not name it; it names {known}",))
    against = [*_against_table(work, found, policy), *_against_burst(work, found, policy)]
    if against:
        return Decision(executor, found.kind, False, tuple(against))
    return Decision(executor, found.kind, True, tuple(_for(work, found, policy)))


def decide_all(work: Work, policy: Policy) -> tuple[Decision, ...]:
    """Decide for each executor of a policy, in its order."""
    return tuple(decide(work, name, policy) for name in policy.executors)


def some_may(decisions: Sequence[Decision]) -> bool:
    """Return whether any executor may run the job."""
    return any(each.may_run for each in decisions)


def explained(decisions: Sequence[Decision]) -> str:
    """Explain all decisions in one line."""
    return " | ".join(each.why for each in decisions)


def _against_table(work: Work, executor: ExecutorPolicy, policy: Policy) -> list[str]:
    table = policy.table(work.table)
    if table is None:
        return [f"the policy does not name table {work.table}, nor '*' for all others"]
    out = []
    if table.residency is not None and executor.region not in table.residency:
        out.append(
            f"it is in region {executor.region}, and table {work.table} may be in "
            f"{listing(table.residency)} only"
        )
    if not executor.trust.covers(table.sensitivity):
        out.append(
            f"it is trusted with {executor.trust}, and table {work.table} is {table.sensitivity}"
        )
    return out


def _against_burst(work: Work, executor: ExecutorPolicy, policy: Policy) -> list[str]:
    if not executor.burst:
        return []
    out = []
    if work.payload is not Payload.RELEASE:
        out.append(f"burst executors get releases only, and the job has {work.payload}")
    if policy.max_epsilon is None:
        out.append("the policy has no burst.max_epsilon, without which burst executors get nothing")
    elif work.epsilon is None:
        out.append(
            f"the release has no bound of privacy, and burst executors get those of epsilon "
            f"{policy.max_epsilon:g} at most"
        )
    elif work.epsilon > policy.max_epsilon:
        out.append(
            f"the release's epsilon is {work.epsilon:g}, and burst executors get those of "
            f"{policy.max_epsilon:g} at most"
        )
    return out


def _for(work: Work, executor: ExecutorPolicy, policy: Policy) -> list[str]:
    table = policy.table(work.table)
    assert table is not None
    where = "anywhere" if table.residency is None else f"in {listing(table.residency)}"
    out = [
        f"it is in region {executor.region}, and table {work.table} may be {where}",
        f"it is trusted with {executor.trust}, and the table is {table.sensitivity}",
    ]
    if executor.burst:
        assert work.epsilon is not None
        assert policy.max_epsilon is not None
        out.append(f"the release's epsilon {work.epsilon:g} is {policy.max_epsilon:g} at most")
    return out


def as_mapping(decision: Decision) -> Mapping[str, object]:
    """Return the decision as an entry of the audit log."""
    return {
        "executor": decision.executor,
        "allowed": decision.may_run,
        "reasons": list(decision.reasons),
    }
