"""Whether a job's results are still where they were put, as somebody asks for them again."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from cascade_jobs.executor import results_of, spool_of
from cascade_jobs.job import MANIFEST, Job
from cascade_jobs.ledger import Asked
from cascade_jobs.remaining import is_still_there
from cascade_jobs.shards import Shard
from cascade_jobs.stores import RemoteStore, Store, store_of

from tests.jobs.made_up import FACTS, LIMITS, SHARD_ROWS, SPECIFICATION, Jobs


def made(jobs: Jobs, output: str) -> Job:
    """A job that is done, as `Desk` has it written down."""
    asked = Asked(replace(SPECIFICATION, output=output), SHARD_ROWS, facts=FACTS)
    is_one = output.endswith((".csv", "#rows"))
    where = jobs.output_of(SPECIFICATION if is_one else asked.specification)
    job, _ = jobs.ledger.submit(asked, where, LIMITS)
    jobs.finish()
    return jobs.ledger.job(job.id)


def is_there(jobs: Jobs, job: Job, store: Store | None = None) -> bool:
    found = store or store_of(job.output, spool_of(jobs.folder, job.id))
    return is_still_there(job, jobs.ledger.files(job.id), found)


class TestFolders:
    """All files are to be there, each as long as it was made."""

    @pytest.fixture
    def job(self, jobs: Jobs, tmp_path: Path) -> Job:
        return made(jobs, str(tmp_path / "out"))

    def test_they_are(self, jobs: Jobs, job: Job) -> None:
        assert is_there(jobs, job)

    def test_the_folder_is_gone(self, jobs: Jobs, job: Job) -> None:
        shutil.rmtree(job.output)
        assert not is_there(jobs, job)

    @pytest.mark.parametrize("name", [Shard(1, 0, 1).name, "_croissant.json", MANIFEST])
    def test_a_file_is_gone(self, jobs: Jobs, job: Job, name: str) -> None:
        (Path(job.output) / name).unlink()
        assert not is_there(jobs, job)

    def test_a_file_was_cut_off(self, jobs: Jobs, job: Job) -> None:
        os.truncate(Path(job.output) / Shard(0, 0, 1).name, 10)
        assert not is_there(jobs, job)

    def test_the_servers_own(self, jobs: Jobs) -> None:
        job = made(jobs, "")
        assert is_there(jobs, job)
        shutil.rmtree(results_of(jobs.folder, job.id))
        assert not is_there(jobs, job)


class TestUrls:
    """What fsspec knows; here in memory."""

    @pytest.fixture
    def job(self, jobs: Jobs, tmp_path: Path) -> Job:
        # A store of the process, and so of all tests.
        return made(jobs, f"memory://remaining{tmp_path}")

    def test_they_are_until_somebody_removes_one(self, jobs: Jobs, job: Job) -> None:
        assert is_there(jobs, job)
        files, folder = fsspec.core.url_to_fs(job.output)
        files.rm_file(f"{folder}/{Shard(2, 0, 1).name}")
        assert not is_there(jobs, job)

    def test_a_folder_that_is_gone(self, jobs: Jobs, job: Job) -> None:
        files, folder = fsspec.core.url_to_fs(job.output)
        files.rm(folder, recursive=True)
        assert not is_there(jobs, job)

    def test_a_store_that_is_away_may_have_them(self, jobs: Jobs, job: Job, tmp_path: Path) -> None:
        class Away:
            def invalidate_cache(self) -> None: ...

            def ls(self, path: str, detail: bool) -> list[str]:
                raise RuntimeError("no route to host")

        away = RemoteStore(job.output, tmp_path / "spool", (Away(), "remaining"))
        assert is_there(jobs, job, away)


class TestTablesAndFiles:
    """Of what is written as one thing, the server's own copy says nothing."""

    def test_a_file(self, jobs: Jobs, tmp_path: Path) -> None:
        job = made(jobs, str(tmp_path / "rows.csv"))
        assert is_there(jobs, job)
        (tmp_path / "rows.csv").unlink()
        assert not is_there(jobs, job)

    @pytest.mark.parametrize("statement", ["DROP TABLE rows", "DELETE FROM rows"])
    def test_a_table(self, jobs: Jobs, tmp_path: Path, statement: str) -> None:
        import sqlite3

        pytest.importorskip("adbc_driver_sqlite")
        job = made(jobs, f"sqlite:///{tmp_path}/made.db#rows")
        assert is_there(jobs, job)
        with sqlite3.connect(tmp_path / "made.db") as connection:
            connection.execute(statement)
        connection.close()
        assert not is_there(jobs, job)

    def test_a_database_that_cannot_be_opened_may_have_them(
        self, jobs: Jobs, tmp_path: Path
    ) -> None:
        pytest.importorskip("adbc_driver_sqlite")
        job = made(jobs, f"sqlite:///{tmp_path}/made.db#rows")
        (tmp_path / "made.db").write_bytes(b"no database" * 1000)
        assert is_there(jobs, job)
