"""Outputs that are somebody's: what is written to, left alone, and tidied."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from cascade_jobs.states import JobState
from cascade_jobs.stores import LocalStore

from tests.jobs.made_up import Jobs, MadeUp, contents


class Killed(BaseException):
    """The process is gone: nothing is tidied up."""


def test_a_store_that_lets_nobody_in_keeps_no_other_job_waiting(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of fsspec's connect at once, and raise errors of their own."""

    class Refused(Exception):
        """As `ftplib.error_perm`, which is no error of the system's."""

    def refused(url: str) -> None:
        raise Refused("530 Login incorrect")

    job, own = jobs.submit(output="ftp://store/rows"), jobs.submit(seed=8)
    with monkeypatch.context() as patched:
        patched.setattr("fsspec.core.url_to_fs", refused)
        jobs.finish()
        waits = jobs.ledger.job(job.id)
        assert waits.state is JobState.RUNNING
        assert waits.waiting.endswith("cannot be written: Refused: 530 Login incorrect")
        jobs.ledger.cancel(job.id, "not wanted")
        jobs.finish()
    assert jobs.ledger.job(own.id).state is JobState.DONE
    assert jobs.ledger.job(job.id).is_clean


def test_what_came_into_an_output_since_is_left_alone(jobs: Jobs, tmp_path: Path) -> None:
    """Whoever looked when the job was asked for has seen nothing, or could not look."""
    job = jobs.submit(output=str(tmp_path / "out"))
    theirs = tmp_path / "out" / "data" / "part-00000.parquet"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"somebody else's rows")
    jobs.finish()
    failed = jobs.ledger.job(job.id)
    assert failed.state is JobState.FAILED
    assert f"output {job.output} is not empty" in failed.reason
    assert failed.is_clean
    assert contents(job.output) == {"data/part-00000.parquet": b"somebody else's rows"}


def test_what_a_killed_executor_has_left_is_the_jobs_own(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.submit(output=str(tmp_path / "out"))
    publish = LocalStore.publish

    def killed(store: LocalStore, made: Path, name: str) -> None:
        publish(store, made, name)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(LocalStore, "publish", killed)
        with pytest.raises(Killed):
            jobs.executor().step()
    assert list(contents(job.output)) == ["data/part-00000.parquet"]
    jobs.clock.now += 3600
    jobs.finish()
    assert jobs.ledger.job(job.id).state is JobState.DONE


def test_a_job_is_tidied_when_nobody_writes_a_file_of_it_any_more(jobs: Jobs) -> None:
    """It is cancelled while another executor sends one, which is there when it is sent."""
    other = jobs.executor()

    def cancelled(first: int) -> None:
        if first == 768:
            jobs.ledger.cancel(job.id, "not wanted")
            assert not other.step()

    job = jobs.submit(output="memory://cancelled/rows")
    one = jobs.executor(MadeUp(before=cancelled), renew_seconds=1e9)
    assert one.step()
    assert not jobs.ledger.job(job.id).is_clean
    jobs.finish(other)
    assert jobs.ledger.job(job.id).is_clean
    assert not fsspec.filesystem("memory").find("/cancelled")
