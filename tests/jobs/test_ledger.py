"""The ledger: what is written down once, leases, and files that are no ledgers."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from cascade_jobs.errors import (
    AlreadyEnded,
    LeaseLost,
    LedgerRefused,
    UnknownJob,
)
from cascade_jobs.executor import spool_of
from cascade_jobs.job import DESCRIPTIONS, MANIFEST, Lease
from cascade_jobs.ledger import Asked, Ledger
from cascade_jobs.ledger import ledger as module
from cascade_jobs.ledger.leases import MOST_LEASES
from cascade_jobs.ledger.schema import MIGRATIONS
from cascade_jobs.remaining import is_still_there
from cascade_jobs.states import JobState
from cascade_jobs.stores import store_of

from tests.jobs.made_up import LIMITS, SPECIFICATION, Jobs, contents

SECONDS = 30.0
# What makes of a ledger one of before a job's beginning was written down, or its tenant.
WITHOUT_BEGINNINGS = [
    f"ALTER TABLE jobs DROP COLUMN {each}" for each in ("is_begun", "waited", "tried_at")
]
WITHOUT_TENANTS = ("DROP INDEX jobs_by_tenant", "ALTER TABLE jobs DROP COLUMN tenant")


def claim(ledger: Ledger, owner: str = "somebody", gone: str = "") -> Lease:
    lease = ledger.claim(owner, SECONDS, lambda name: name == gone)
    assert lease is not None
    return lease


def submit_many(jobs: Jobs, count: int) -> None:
    for _ in range(count):
        jobs.submit()


def test_a_job_that_came_to_nothing_has_no_files(jobs: Jobs) -> None:
    """They are removed: who is shown them would look for them."""
    job = jobs.submit()
    executor = jobs.executor()
    executor.step()
    assert [part.name for part in jobs.ledger.files(job.id)] == ["data/part-00000.parquet"]
    jobs.ledger.cancel(job.id, "not wanted")
    assert jobs.ledger.files(job.id) == []
    jobs.finish(executor)
    assert jobs.ledger.files(job.id) == []


class TestLeases:
    """Each file is made by one owner, and what an older lease has made is refused."""

    def test_each_file_is_given_once_and_the_manifest_last(self, jobs: Jobs) -> None:
        job = jobs.submit(2500)
        leases = [claim(jobs.ledger) for _ in range(3)]
        assert [each.name for each in leases] == [shard.name for shard in job.plan]
        assert jobs.ledger.claim("other", SECONDS) is None
        for each in leases:
            jobs.ledger.commit(each, "sum", 10)
        last = claim(jobs.ledger)
        assert last.name == "_manifest.json"
        assert jobs.ledger.job(job.id).state is JobState.RUNNING
        jobs.ledger.commit(last, "sum", 10)
        done = jobs.ledger.job(job.id)
        assert (done.state, done.rows_done, done.shards_done) == (JobState.DONE, 2500, 3)

    def test_who_was_replaced_can_neither_go_on_nor_commit(self, jobs: Jobs) -> None:
        jobs.submit(100)
        old = claim(jobs.ledger, "paused")
        jobs.clock.now += SECONDS
        new = claim(jobs.ledger, "next")
        assert (new.shard, new.fence > old.fence) == (old.shard, True)
        published: list[str] = []
        with pytest.raises(LeaseLost, match="is somebody else's now"):
            jobs.ledger.renew(old, 10, SECONDS)
        with pytest.raises(LeaseLost):
            jobs.ledger.commit(old, "sum", 10, lambda: published.append("old"))
        jobs.ledger.commit(new, "sum", 10, lambda: published.append("new"))
        assert published == ["new"]
        # Late news of the old one's changes nothing.
        jobs.ledger.give_back(old, "disk full", jobs.clock.now + 99)
        jobs.ledger.fail(old, "it was paused")
        assert claim(jobs.ledger).name == "_manifest.json"

    def test_a_lease_that_is_renewed_is_kept(self, jobs: Jobs) -> None:
        job = jobs.submit(100)
        lease = claim(jobs.ledger)
        for drawn in (10, 20, 30):
            jobs.clock.now += SECONDS - 1
            jobs.ledger.renew(lease, drawn, SECONDS)
        assert jobs.ledger.claim("other", SECONDS) is None
        found = jobs.ledger.job(job.id)
        assert (found.rows_drawn, found.rows_done) == (30, 0)

    def test_who_is_known_to_be_gone_is_not_waited_for(self, jobs: Jobs) -> None:
        jobs.submit(100)
        claim(jobs.ledger, "killed")
        assert claim(jobs.ledger, "next", gone="killed").shard is not None

    def test_of_who_is_gone_all_files_are_taken_back_at_once(self, jobs: Jobs) -> None:
        """Nobody can be asked a second time: its lock goes with the answer."""
        job = jobs.submit(2500)
        for owner in ("killed", "killed", "alive"):
            claim(jobs.ledger, owner)
        assert claim(jobs.ledger, "next", gone="killed").name == job.plan[0].name
        assert claim(jobs.ledger, "next").name == job.plan[1].name
        assert jobs.ledger.claim("next", SECONDS) is None

    def test_what_publishing_raises_leaves_the_file_to_be_made(self, jobs: Jobs) -> None:
        job = jobs.submit(100)
        lease = claim(jobs.ledger)

        def full() -> None:
            raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space"):
            jobs.ledger.commit(lease, "sum", 10, full)
        assert jobs.ledger.job(job.id).shards_done == 0
        jobs.ledger.commit(lease, "sum", 10)
        assert jobs.ledger.job(job.id).shards_done == 1

    def test_a_job_that_waits_is_left_until_it_may_be_tried(self, jobs: Jobs) -> None:
        job = jobs.submit(100)
        jobs.ledger.give_back(claim(jobs.ledger), "the disk is full", jobs.clock.now + 5)
        found = jobs.ledger.job(job.id)
        assert (found.waiting, found.tries, found.waiting_since) == (
            "the disk is full", 1, jobs.clock.now,
        )  # fmt: skip
        assert jobs.ledger.claim("other", SECONDS) is None
        assert jobs.ledger.next_work(1e9) == jobs.clock.now + 5
        jobs.clock.now += 5
        lease = claim(jobs.ledger)
        jobs.ledger.renew(lease, 1, SECONDS)
        assert jobs.ledger.job(job.id).waiting == ""

    def test_jobs_take_turns(self, jobs: Jobs) -> None:
        large, small = jobs.submit(5000), jobs.submit(10)
        assert [claim(jobs.ledger).job.id for _ in range(3)] == [large.id, small.id, large.id]

    def test_a_file_that_ends_whoever_makes_it_fails_its_job(self, jobs: Jobs) -> None:
        job = jobs.submit(100)
        for _ in range(MOST_LEASES):
            claim(jobs.ledger, "killed", gone="killed")
        assert jobs.ledger.claim("next", SECONDS, lambda _: True) is None
        failed = jobs.ledger.job(job.id)
        assert failed.state is JobState.FAILED
        assert "who made rows 0 to 100 ended 100 times" in failed.reason


class TestManyJobs:
    """What is asked of a ledger with many jobs that have ended."""

    def test_the_newest_are_listed_first_and_no_more_than_asked_for(self, jobs: Jobs) -> None:
        made = []
        for _ in range(5):
            made.append(jobs.submit(10).id)
            jobs.clock.now += 1
        assert [job.id for job in jobs.ledger.jobs(3)] == made[:1:-1]
        for name in made[1:]:
            jobs.ledger.cancel(name, "for a test")
        # The oldest has not ended, and is not to be lost sight of.
        unended = jobs.ledger.jobs(2, unended_first=True)
        assert [job.id for job in unended] == [made[-1], made[0]]

    def test_what_was_to_be_completed_is_kept_no_longer_than_it_is_needed(self, jobs: Jobs) -> None:
        asked = Asked(SPECIFICATION, 10_000, conditions=b"many rows")
        output = jobs.output_of(SPECIFICATION)
        job, _ = jobs.ledger.submit(asked, output, LIMITS)
        lease = claim(jobs.ledger)
        assert lease.conditions == b"many rows"
        jobs.ledger.cancel(job.id, "not wanted")
        with sqlite3.connect(jobs.ledger.path) as connection:
            assert connection.execute("SELECT conditions FROM jobs").fetchall() == [(b"",)]
        connection.close()


class TestEnds:
    """Jobs that are cancelled, forgotten, or unknown."""

    def test_a_job_that_is_cancelled_takes_its_leases_with_it(self, jobs: Jobs) -> None:
        job = jobs.submit(100)
        lease = claim(jobs.ledger)
        cancelled = jobs.ledger.cancel(job.id, "not wanted")
        assert (cancelled.state, cancelled.reason) == (JobState.CANCELLED, "not wanted")
        with pytest.raises(LeaseLost, match="is CANCELLED"):
            jobs.ledger.commit(lease, "sum", 10)
        assert jobs.ledger.cancel(job.id, "again").reason == "not wanted"
        assert jobs.ledger.claim("other", SECONDS) is None

    def test_what_is_done_cannot_be_cancelled(self, jobs: Jobs) -> None:
        job = jobs.submit(100)
        jobs.finish()
        with pytest.raises(AlreadyEnded, match="is DONE"):
            jobs.ledger.cancel(job.id, "late")

    def test_a_job_that_there_is_not_is_named(self, jobs: Jobs) -> None:
        for ask in (jobs.ledger.job, lambda name: jobs.ledger.cancel(name, "")):
            with pytest.raises(UnknownJob, match="there is no job 'nobody'"):
                ask("nobody")

    def test_there_is_no_work_where_nothing_is_to_be_done(self, jobs: Jobs) -> None:
        assert jobs.ledger.next_work(60) is None
        jobs.submit(100)
        jobs.finish()
        assert jobs.ledger.next_work(60) == jobs.clock.now + 60


class TestFullDisks:
    def test_it_is_said_that_the_disk_is_full(self, jobs: Jobs) -> None:
        """SQLite has rolled back by itself: to do so once more must not hide why."""
        connection = jobs.ledger._connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(sqlite3.OperationalError, match="database or disk is full"):
            submit_many(jobs, 1000)
        assert not connection.in_transaction
        # There is room again.
        connection.execute(f"PRAGMA max_page_count = {10 * pages}")
        assert jobs.ledger.job(jobs.submit().id).state is JobState.PENDING


class TestFiles:
    """What is no ledger of this version."""

    def test_what_was_written_is_there_after_a_restart(self, jobs: Jobs) -> None:
        job = jobs.submit()
        again = jobs.open()
        assert again.jobs() == [job]

    def test_a_ledger_of_a_newer_version_is_refused_and_left_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "jobs.sqlite"
        Ledger(path).close()
        with sqlite3.connect(path) as connection:
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        connection.close()
        before = path.read_bytes()
        said = f"version {len(MIGRATIONS) + 1}, which a newer server made"
        with pytest.raises(LedgerRefused, match=said):
            Ledger(path)
        assert path.read_bytes() == before

    def test_a_ledger_of_an_older_version_is_brought_up_to_date(self, tmp_path: Path) -> None:
        """With a job in it, which ends as it would have ended then."""
        jobs = Jobs(tmp_path)
        job = jobs.submit(facts=None)
        jobs.close()
        with sqlite3.connect(tmp_path / "jobs.sqlite") as connection:
            for statement in (
                *WITHOUT_BEGINNINGS,
                *WITHOUT_TENANTS,
                "DROP TABLE counts",
                "ALTER TABLE jobs DROP COLUMN rows_folder",
                "DROP TABLE decisions",
                "ALTER TABLE jobs DROP COLUMN facts",
                "ALTER TABLE shards DROP COLUMN name",
                "PRAGMA user_version = 1",
            ):
                connection.execute(statement)
        connection.close()
        later = Jobs(tmp_path)
        assert later.ledger.job(job.id) == replace(job, rows_folder="")
        later.finish()
        done = later.ledger.job(job.id)
        assert (done.state, done.rows_done, done.facts) == (JobState.DONE, 2500, None)
        later.close()

    def test_jobs_of_before_keep_their_files_where_they_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Beside the manifest: what is done is found, and what was begun ends in one place."""
        before = Jobs(tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(module, "ROWS_FOLDER", "")
            finished = before.submit()
            before.finish()
            begun = before.submit(seed=8)
            before.executor().step()
        before.close()
        with sqlite3.connect(tmp_path / "jobs.sqlite") as connection:
            for statement in (*WITHOUT_BEGINNINGS, *WITHOUT_TENANTS, "DROP TABLE counts"):
                connection.execute(statement)
            connection.execute("ALTER TABLE jobs DROP COLUMN rows_folder")
            connection.execute("PRAGMA user_version = 2")
        connection.close()
        flat = {f"part-{number:05}.parquet" for number in range(3)} | {MANIFEST, *DESCRIPTIONS}
        assert set(contents(finished.output)) == flat
        assert list(contents(begun.output)) == ["part-00000.parquet"]

        jobs = Jobs(tmp_path)
        jobs.finish()
        for each in (finished, begun):
            done, files = jobs.ledger.job(each.id), jobs.ledger.files(each.id)
            assert done.state is JobState.DONE
            assert is_still_there(done, files, store_of(done.output, spool_of(tmp_path, each.id)))
            assert set(contents(done.output)) == {part.name for part in files} == flat
            manifest = json.loads((Path(done.output) / MANIFEST).read_bytes())
            assert {part["name"] for part in manifest["files"]} < flat
            croissant = (Path(done.output) / "_croissant.json").read_text()
            assert '"includes": "part-*.parquet"' in croissant
        part = jobs.ledger.part(begun.id, 2)
        assert part is not None
        assert part.name == "part-00002.parquet"
        jobs.ledger._new_id = lambda: "new"
        new = jobs.submit(seed=9)
        jobs.finish()
        assert "data/part-00000.parquet" in contents(new.output)
        jobs.clock.now += 8 * 86_400
        jobs.finish()
        assert not Path(finished.output).exists()
        assert not Path(begun.output).exists()
        jobs.close()

    def test_a_damaged_ledger_is_refused_by_name(self, tmp_path: Path) -> None:
        path = tmp_path / "jobs.sqlite"
        path.write_bytes(b"this is no database" * 1000)
        with pytest.raises(LedgerRefused, match=r"jobs\.sqlite cannot be used .* not a database"):
            Ledger(path)
        assert path.read_bytes().startswith(b"this is no database")

    def test_a_folder_that_cannot_be_made_is_refused_by_name(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(LedgerRefused, match="file"):
            Ledger(tmp_path / "file" / "jobs.sqlite")
