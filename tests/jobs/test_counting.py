"""What the ledger counts: what happened, once, whatever becomes of who did it."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest
from cascade_jobs.errors import Cause, JobFailed, JobWaits
from cascade_jobs.ledger import Ledger
from cascade_jobs.ledger.counting import Count
from cascade_jobs.ledger.leases import MOST_LEASES
from cascade_jobs.ledger.owners import Owner, dismiss
from cascade_jobs.ledger.schema import MIGRATIONS
from cascade_jobs.retrying import judged
from cascade_jobs.states import JobState

from tests.jobs.made_up import Clock, Jobs, MadeUp


def counts(jobs: Jobs) -> dict[tuple[str, str, str], int]:
    return {(str(name), *rest): n for (name, *rest), n in jobs.ledger.statistics().counts.items()}


class Killed(BaseException):
    """The process is gone: nothing is tidied up."""


class TestCounts:
    def test_files_and_rows_by_table_and_tier(self, jobs: Jobs) -> None:
        jobs.submit()
        jobs.submit(table="shops", tier="teacher", rows=10)
        jobs.finish()
        assert counts(jobs) == {
            ("rows", "payments", "student"): 2500,
            ("shards", "payments", "student"): 3,
            ("rows", "shops", "teacher"): 10,
            ("shards", "shops", "teacher"): 1,
        }

    def test_what_is_forgotten_has_been(self, jobs: Jobs) -> None:
        job = jobs.submit()
        jobs.finish()
        before = counts(jobs)
        jobs.ledger.forget(job.id)
        assert jobs.ledger.statistics().states[JobState.DONE] == 0
        assert counts(jobs) == before

    def test_another_try_and_a_failure_by_their_cause(self, jobs: Jobs) -> None:
        raised = iter(
            (
                JobWaits("away", Cause.AWAY),
                OSError(errno.ENOSPC, "full"),
                JobFailed("", Cause.RELEASE),
            )
        )

        def before(first: int) -> None:
            raise next(raised)

        jobs.submit()
        executor = jobs.executor(MadeUp(before))
        for _ in range(3):
            executor.step()
            jobs.clock.now += 60
        assert counts(jobs) == {
            ("retries", "", "away"): 1,
            ("retries", "", "disk_full"): 1,
            ("failures", "", "release"): 1,
        }

    def test_a_lease_whose_owner_is_gone_is_lost_and_its_rows_count_once(self, jobs: Jobs) -> None:
        def before(first: int) -> None:
            if first:
                raise Killed

        jobs.submit(rows=1000)
        killed = jobs.executor(MadeUp(before))
        with pytest.raises(Killed):
            killed.step()
        jobs.clock.now += 3600
        jobs.finish()
        assert counts(jobs) == {
            ("leases_lost", "", ""): 1,
            ("shards", "payments", "student"): 1,
            ("rows", "payments", "student"): 1000,
        }

    @pytest.mark.parametrize("dismissed", [True, False])
    def test_who_is_ended_on_purpose_loses_no_lease(self, jobs: Jobs, dismissed: bool) -> None:
        """However often: a server takes over from another, again and again."""
        folder = jobs.folder / "owners"
        job, killed = jobs.submit(rows=1000), Owner(folder)
        assert jobs.ledger.claim(killed.name, 60.0) is not None
        dismiss(folder, os.getpid() if dismissed else os.getpid() * 10)
        killed._file.close()  # as the kernel does of who is killed
        jobs.finish()
        assert jobs.ledger.job(job.id).state is JobState.DONE
        assert counts(jobs).get(("leases_lost", "", ""), 0) == (not dismissed)

    def test_who_is_killed_too_often(self, jobs: Jobs) -> None:
        jobs.submit()
        for _ in range(MOST_LEASES + 1):
            jobs.ledger.claim("somebody", 1.0)
            jobs.clock.now += 2
        assert counts(jobs) == {
            ("leases_lost", "", ""): MOST_LEASES,
            ("failures", "", "killed"): 1,
        }


class TestStates:
    def test_jobs_by_state_and_what_they_take(self, jobs: Jobs) -> None:
        jobs.submit()
        jobs.finish()
        jobs.ledger.cancel(jobs.submit().id, "not wanted")
        jobs.submit()
        found = jobs.ledger.statistics()
        assert found.states == {
            JobState.PENDING: 1,
            JobState.RUNNING: 0,
            JobState.DONE: 1,
            JobState.FAILED: 0,
            JobState.CANCELLED: 1,
        }
        assert found.bytes == jobs.ledger.owned_bytes() > 0

    def test_how_long_a_job_is_not_begun_with(self, jobs: Jobs) -> None:
        assert jobs.ledger.statistics().oldest_pending == 0
        jobs.submit()
        jobs.clock.now += 40
        jobs.submit()
        jobs.clock.now += 2
        assert jobs.ledger.statistics().oldest_pending == 42
        jobs.executor().step()
        assert jobs.ledger.statistics().oldest_pending == 2

    def test_how_long_a_job_has_not_gone_on(self, jobs: Jobs) -> None:
        jobs.submit()
        lease = jobs.ledger.claim("somebody", 60)
        assert lease is not None
        jobs.ledger.give_back(lease, "the disk is full", jobs.clock.now + 1, Cause.DISK_FULL)
        jobs.clock.now += 90
        found = jobs.ledger.statistics()
        assert (found.waiting, found.oldest_waiting) == (1, 90)
        jobs.finish()
        found = jobs.ledger.statistics()
        assert (found.waiting, found.oldest_waiting) == (0, 0)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError(errno.EDQUOT, "quota"), Cause.DISK_FULL),
        (OSError(errno.ECONNREFUSED, "no"), Cause.OUTPUT),
        (OSError("no number"), Cause.OUTPUT),
        (PermissionError(errno.EACCES, "no"), Cause.OUTPUT),
        (ImportError("s3fs"), Cause.PACKAGE),
        (MemoryError(), Cause.MEMORY),
        (sqlite3.OperationalError("locked"), Cause.LEDGER),
        (ValueError("nobody has foreseen it"), Cause.OTHER),
        (JobWaits("no room", Cause.QUOTA), Cause.QUOTA),
    ],
)
def test_what_goes_wrong_is_counted_by_its_cause(error: Exception, cause: Cause) -> None:
    assert judged(error, "/out", "part").cause is cause


def test_a_ledger_of_before_counts_from_now_on(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    with sqlite3.connect(path) as connection:
        for step in (step for steps in MIGRATIONS[:2] for step in steps):
            connection.execute(step)
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with Ledger(path, Clock()) as ledger:
        assert ledger.statistics().counts == {}
        with ledger._transaction():
            ledger._count(Count.ROWS, "student", "payments", 7)
            ledger._count(Count.ROWS, "student", "payments", 8)
        assert ledger.statistics().counts == {(Count.ROWS, "payments", "student"): 15}
