"""Jobs and their executors with a policy between them, and what is written down of it."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from threading import Event

import pytest
from cascade_jobs.audit.log import FOLDER, LOG, AuditLog
from cascade_jobs.audit.verifying import content_of, read_entries, verify
from cascade_jobs.errors import AuditRefused, PolicyForbids, PolicyRefused
from cascade_jobs.job import Job
from cascade_jobs.ledger import Asked
from cascade_jobs.policy.gate import Gate, PolicyFile
from cascade_jobs.retrying import RetryConfig
from cascade_jobs.states import JobState

from tests.jobs.made_up import FACTS, LIMITS, SHARD_ROWS, SPECIFICATION, Jobs, MadeUp

POLICY = """\
tables: {payments: {residency: [eu], sensitivity: internal}}
executors:
  local: {region: REGION, trust: restricted}
  cloud: {kind: ray, region: eu, trust: internal, burst: true}
burst: {max_epsilon: 2}
"""
PRIVATE = replace(FACTS, epsilon=1.5)


class Guarded:
    """A state folder's jobs, with a policy that may change."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs, self.path = jobs, jobs.folder / "policy.yaml"
        self.put("eu")

    def put(self, region: str) -> None:
        """Have the local executor be there."""
        self.path.write_text(POLICY.replace("REGION", region))

    def gate(self, executor: str = "local") -> Gate:
        """As another process has it."""
        return Gate(PolicyFile(self.path), AuditLog(self.jobs.folder / FOLDER), executor)

    def submit(self, **more: object) -> Job:
        asked = Asked(replace(SPECIFICATION, **more), SHARD_ROWS, fresh=True, facts=PRIVATE)  # type: ignore[arg-type]
        output = self.jobs.output_of(asked.specification)
        return self.jobs.ledger.submit(asked, output, LIMITS, admit=self.gate().admit)[0]

    def entries(self) -> list[dict[str, object]]:
        content = content_of(self.jobs.folder / FOLDER)
        assert verify(content).is_sound
        return list(read_entries(content))

    def events(self) -> list[object]:
        return [each["event"] for each in self.entries()]


@pytest.fixture
def guarded(jobs: Jobs) -> Guarded:
    return Guarded(jobs)


def test_a_job_that_may_be_run_is_and_each_decision_is_written_down(guarded: Guarded) -> None:
    job = guarded.submit()
    guarded.jobs.finish(guarded.jobs.executor(gate=guarded.gate()))
    assert guarded.jobs.ledger.job(job.id).state is JobState.DONE
    submitted, may = guarded.entries()
    # Once for all files of the job.
    assert (submitted["event"], may["event"]) == ("submitted", "may run")
    assert (may["executor"], may["allowed"]) == ("local", True)
    for each in (submitted, may):
        assert (each["job"], each["table"], each["epsilon"]) == (job.id, "payments", 1.5)
        assert each["release"] == SPECIFICATION.release
        assert each["policy"] == PolicyFile(guarded.path).current().digest


def test_a_job_that_nobody_may_run_is_refused_with_all_reasons(guarded: Guarded) -> None:
    guarded.put("us")
    with pytest.raises(PolicyForbids) as raised:
        guarded.submit(conditions="ab" * 32)
    assert str(raised.value) == (
        "no executor may run a job of payments, by the server's policy: local: it is in region us, "
        "and table payments may be in eu only | cloud: burst executors get releases only, and the "
        "job has rows"
    )
    assert guarded.jobs.ledger.jobs() == []
    (entry,) = guarded.entries()
    assert (entry["event"], entry["allowed"], entry["payload"]) == ("refused", False, "rows")


def test_a_job_for_another_executor_waits_with_its_reason(guarded: Guarded) -> None:
    guarded.put("us")
    job = guarded.submit()
    executor = guarded.jobs.executor(gate=guarded.gate())
    assert not executor.step()
    waits = guarded.jobs.ledger.job(job.id)
    assert (waits.state, waits.waiting) == (
        JobState.PENDING,
        "by the server's policy, local: it is in region us, and table payments may be in eu only",
    )
    # It is no work for this executor, which need not stay for it.
    assert guarded.jobs.ledger.next_work(100.0, guarded.gate().now().key) is None
    assert guarded.jobs.ledger.next_work(100.0) is not None
    assert not executor.step()
    assert guarded.events() == ["submitted", "may not run"]
    guarded.jobs.finish(guarded.jobs.executor(gate=guarded.gate("cloud")))
    done = guarded.jobs.ledger.job(job.id)
    assert (done.state, done.waiting) == (JobState.DONE, "")


def test_a_job_that_is_held_back_is_seen_to_wait_and_is_not_late(guarded: Guarded) -> None:
    jobs = guarded.jobs
    guarded.put("us")
    guarded.submit()
    assert not jobs.executor(gate=guarded.gate()).step()
    jobs.clock.now += 7200
    found = jobs.ledger.statistics()
    assert (found.waiting, found.oldest_waiting, found.oldest_pending) == (1, 7200, 0)
    guarded.put("eu")
    jobs.finish(jobs.executor(gate=guarded.gate()))
    found = jobs.ledger.statistics()
    assert (found.waiting, found.oldest_waiting) == (0, 0)


def test_how_long_a_job_was_held_back_counts_towards_no_patience(guarded: Guarded) -> None:
    """Of its files none has failed; also where the rules are those of before."""
    jobs = guarded.jobs
    job, executor = guarded.submit(), jobs.executor(gate=guarded.gate())
    assert executor.step()
    for _ in range(2):
        guarded.put("us")
        assert not executor.step()
        jobs.clock.now += 2 * 86_400
        guarded.put("eu")

        def full(first: int) -> None:
            raise OSError(errno.ENOSPC, "full")

        assert jobs.executor(MadeUp(full), guarded.gate()).step()
        waits = jobs.ledger.job(job.id)
        assert (waits.state, waits.waiting_since) == (JobState.RUNNING, jobs.clock.now)
        jobs.clock.now += 60
    jobs.finish(executor)
    assert jobs.ledger.job(job.id).state is JobState.DONE


def test_a_job_that_waits_does_not_hold_up_others(guarded: Guarded) -> None:
    guarded.path.write_text(
        POLICY.replace("REGION", "us").replace(
            "tables: {", "tables: {weather: {residency: anywhere, sensitivity: public}, "
        )
    )
    waits, runs = guarded.submit(), guarded.submit(table="weather")
    guarded.jobs.finish(guarded.jobs.executor(gate=guarded.gate()))
    states = [guarded.jobs.ledger.job(each.id).state for each in (waits, runs)]
    assert states == [JobState.PENDING, JobState.DONE]


def test_a_policy_that_changes_holds_from_the_next_file_on(guarded: Guarded) -> None:
    job = guarded.submit()
    executor = guarded.jobs.executor(gate=guarded.gate())
    assert executor.step()
    guarded.put("us")
    assert not executor.step()
    waits = guarded.jobs.ledger.job(job.id)
    assert (waits.state, waits.rows_done) == (JobState.RUNNING, 1000)
    assert waits.waiting.startswith("by the server's policy, local: it is in region us")
    guarded.put("eu")
    assert executor.step()
    assert guarded.jobs.ledger.job(job.id).waiting == ""
    guarded.put("us")
    assert not executor.step()
    assert guarded.jobs.ledger.job(job.id).waiting == waits.waiting
    guarded.put("eu")
    guarded.jobs.finish(executor)
    assert guarded.jobs.ledger.job(job.id).state is JobState.DONE
    # What was decided before holds again, since the policy is the same.
    assert guarded.events() == ["submitted", "may run", "may not run"]


def test_a_policy_that_cannot_be_read_lets_nothing_through(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = guarded.submit()
    guarded.path.write_text("tables: []")
    with pytest.raises(PolicyRefused, match="allowed: names and their values"):
        guarded.submit(seed=8)
    with pytest.raises(PolicyRefused):
        guarded.jobs.executor(gate=guarded.gate()).step()
    (decision,) = guarded.gate().decisions(job)
    assert (decision.may_run, "allowed: names" in decision.why) == (False, True)
    # Executors wait for it as for a ledger that cannot be written.
    rests: list[int] = []

    def rest(_: RetryConfig, tries: int) -> float:
        rests.append(tries)
        if len(rests) == 2:
            guarded.put("eu")
        return 0.0

    monkeypatch.setattr(RetryConfig, "rest", rest)
    guarded.jobs.executor(gate=guarded.gate()).work(Event(), lambda *_: None)
    assert rests == [0, 1]
    assert guarded.jobs.ledger.job(job.id).state is JobState.DONE


def test_what_cannot_be_written_down_is_not_done(guarded: Guarded) -> None:
    job = guarded.submit()
    log = guarded.jobs.folder / FOLDER / LOG
    kept = log.read_bytes()
    log.write_bytes(b"")
    with pytest.raises(AuditRefused, match="cascade audit verify"):
        guarded.submit(seed=8)
    executor = guarded.jobs.executor(gate=guarded.gate())
    assert not executor.step()
    waits = guarded.jobs.ledger.job(job.id)
    assert waits.waiting.startswith("it cannot be decided who may run it: the audit log ")
    guarded.jobs.clock.now += 10
    found = guarded.jobs.ledger.statistics()
    # No file was tried; and what nobody can decide is late, unlike what is decided.
    assert (found.oldest_waiting, found.oldest_pending, dict(found.counts)) == (10, 10, {})
    log.write_bytes(kept)
    guarded.jobs.clock.now += 30
    guarded.jobs.finish(executor)
    assert guarded.jobs.ledger.job(job.id).state is JobState.DONE


def test_a_job_of_a_server_that_kept_no_facts_has_no_bound_of_privacy(guarded: Guarded) -> None:
    job = guarded.jobs.submit(facts=None)
    local, cloud = guarded.gate().decisions(job)
    assert (local.may_run, cloud.may_run) == (True, False)
    assert "no bound of privacy" in cloud.why


def test_entries_are_canonical_json_on_one_line_each(guarded: Guarded) -> None:
    guarded.submit()
    text = (guarded.jobs.folder / FOLDER / LOG).read_text()
    for line in text.splitlines():
        entry = json.loads(line)
        again = json.dumps(entry, sort_keys=True, separators=(",", ":"))
        assert again == line
