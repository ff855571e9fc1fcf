"""Executors: the same files whatever happens on the way, and what becomes of what goes wrong."""

from __future__ import annotations

import errno
import json
import resource
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import pyarrow.parquet as pq
import pytest
from cascade_jobs.errors import JobFailed, JobWaits, TooManyJobs
from cascade_jobs.job import DESCRIPTIONS, MANIFEST
from cascade_jobs.ledger import Asked, Limits
from cascade_jobs.parquet import ParquetFile, checksum
from cascade_jobs.retrying import RetryConfig
from cascade_jobs.states import JobState
from cascade_jobs.stores import LocalStore

from tests.jobs.made_up import SHARD_ROWS, SPECIFICATION, Jobs, MadeUp, contents, made_up


class Killed(BaseException):
    """The process is gone: nothing is tidied up."""


def kill_at(row: int) -> Callable[[int], None]:
    def before(first: int) -> None:
        if first >= row:
            raise Killed

    return before


@pytest.fixture
def undisturbed(tmp_path: Path) -> dict[str, bytes]:
    """The files of a run that nothing happened to."""
    jobs = Jobs(tmp_path / "undisturbed")
    job = jobs.submit()
    jobs.finish()
    jobs.close()
    return contents(job.output)


def test_a_job_has_all_of_its_rows_in_order_and_a_manifest(jobs: Jobs) -> None:
    job = jobs.submit(2500)
    jobs.finish()
    done = jobs.ledger.job(job.id)
    assert (done.state, done.rows_done) == (JobState.DONE, 2500)
    manifest = json.loads((Path(job.output) / "_manifest.json").read_text())
    assert [each["rows"] for each in manifest["files"]] == [1000, 1000, 500]
    for each in manifest["files"]:
        assert checksum(Path(job.output) / each["name"]) == (each["sha256"], each["bytes"])
    table = pq.read_table([Path(job.output) / each["name"] for each in manifest["files"]])
    assert table.to_pylist() == made_up(SPECIFICATION.seed, 0, 2500).to_rows()
    kept = json.loads(table.schema.metadata[b"cascade"])
    assert (kept["synthetic"], kept["seed"], kept["table"]) == (True, 7, "payments")


@pytest.mark.parametrize("row", [0, 256, 1000, 1512, 2000])
def test_who_is_killed_leaves_nothing_lost_and_nothing_doubled(
    jobs: Jobs, undisturbed: dict[str, bytes], row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.submit()
    executor = jobs.executor(MadeUp(before=kill_at(row)))
    with monkeypatch.context() as patched:
        # Who is killed removes nothing; its files are closed, and its locks gone.
        patched.setattr(ParquetFile, "drop", lambda file: file._file.close())
        with pytest.raises(Killed):
            jobs.finish(executor)
    executor._owner._file.close()
    assert list(Path(job.output).glob(".part-*.tmp"))
    jobs.finish()
    assert contents(job.output) == undisturbed


@pytest.mark.parametrize("name", [*DESCRIPTIONS, MANIFEST])
def test_who_is_killed_while_rows_are_described_leaves_nothing_else(
    jobs: Jobs, undisturbed: dict[str, bytes], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.submit()
    executor = jobs.executor()
    publish = LocalStore.publish

    def killed(store: LocalStore, made: Path, published: str) -> None:
        if published == name:
            # The file that it was to be is left, as a process leaves it that is gone.
            made.with_name(made.name.replace(".tmp", "1.tmp")).write_bytes(made.read_bytes())
            raise Killed
        publish(store, made, published)

    with monkeypatch.context() as patched:
        patched.setattr(LocalStore, "publish", killed)
        with pytest.raises(Killed):
            jobs.finish(executor)
    assert list(Path(job.output).glob(f".{name}.*.tmp"))
    executor._owner._file.close()
    jobs.finish()
    assert contents(job.output) == undisturbed
    assert [part.name for part in jobs.ledger.files(job.id)][-3:] == [*DESCRIPTIONS, MANIFEST]


def test_two_executors_on_one_ledger_share_the_files(
    jobs: Jobs, undisturbed: dict[str, bytes]
) -> None:
    job = jobs.submit()
    drawings = MadeUp(), MadeUp()
    one, two = map(jobs.executor, drawings)
    while one.step() | two.step():
        pass
    assert contents(job.output) == undisturbed
    assert len({*drawings[0].drawn, *drawings[1].drawn}) == sum(
        len(each.drawn) for each in drawings
    )
    assert all(each.drawn for each in drawings)


def test_who_is_paused_until_somebody_else_has_taken_over_publishes_nothing(
    jobs: Jobs, undisturbed: dict[str, bytes]
) -> None:
    job = jobs.submit()
    written: list[int] = []

    def others_finish(first: int) -> None:
        if first == 256 and not written:
            jobs.clock.now += 121
            jobs.finish()
            written.append((Path(job.output) / "data/part-00000.parquet").stat().st_mtime_ns)

    jobs.finish(jobs.executor(MadeUp(before=others_finish)))
    assert (Path(job.output) / "data/part-00000.parquet").stat().st_mtime_ns == written[0]
    assert contents(job.output) == undisturbed


def test_a_disk_that_is_full_is_waited_for_and_said(
    jobs: Jobs, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of a file's size stands for a disk: both end a write that has begun."""
    job = jobs.submit()
    drawing = MadeUp()
    executor = jobs.executor(drawing)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(_: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, unlimited[1]))

    def lift(tries: int) -> float:
        # The ledger is on another disk, so to say.
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        return 0.5

    drawing.before = limit
    monkeypatch.setattr(RetryConfig, "rest", lambda _, tries: lift(tries))
    try:
        assert executor.step()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        signal.signal(signal.SIGXFSZ, before)
    waits = jobs.ledger.job(job.id)
    assert waits.state is JobState.RUNNING
    assert waits.waiting == f"{job.output} cannot be written: File too large"
    assert contents(job.output) == {}
    drawing.before = lambda _: None
    jobs.clock.now += 1
    jobs.finish(executor)
    assert contents(job.output) == undisturbed


def test_a_ledger_that_cannot_be_written_is_waited_for(
    jobs: Jobs, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor can it be told then that a file is given back; it is not waited for until the lease is
    over."""
    job = jobs.submit()
    executor = jobs.executor()
    rests: list[float] = []

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    def rest(_: Event, seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 3:
            monkeypatch.undo()

    for change in ("commit", "give_back"):
        monkeypatch.setattr(executor._ledger, change, full)
    executor.work(Event(), rest)
    assert rests == [0.5, 1.0, 2.0]
    assert contents(job.output) == undisturbed


def test_an_output_that_is_away_for_a_minute_is_tried_more_and_more_seldom(
    jobs: Jobs, undisturbed: dict[str, bytes]
) -> None:
    job = jobs.submit()
    away_until, began = jobs.clock.now + 60, jobs.clock.now
    tried: list[float] = []

    def reach(_: int) -> None:
        if jobs.clock.now < away_until:
            tried.append(jobs.clock.now - began)
            raise OSError(errno.EHOSTUNREACH, "No route to host")

    executor = jobs.executor(MadeUp(before=reach))
    while not jobs.ledger.job(job.id).state.is_final:
        if not executor.step():
            jobs.clock.now += 0.5
            waiting = jobs.ledger.job(job.id).waiting
            assert waiting.endswith("cannot be written: No route to host")
    assert tried == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert contents(job.output) == undisturbed


def test_a_job_that_waits_for_too_long_fails_with_what_it_waited_for(jobs: Jobs) -> None:
    def away(_: int) -> None:
        raise JobWaits("the teacher is away")

    job = jobs.submit()
    patience = RetryConfig(patience_seconds=3600)
    executor = jobs.executor(MadeUp(before=away), retry=patience)
    while not jobs.ledger.job(job.id).state.is_final:
        executor.step()
        jobs.clock.now += 30
    failed = jobs.ledger.job(job.id)
    assert (failed.state, failed.reason) == (
        JobState.FAILED, "the teacher is away; it has waited for 1 hours",
    )  # fmt: skip


def test_time_in_which_nobody_tried_is_no_waiting(jobs: Jobs) -> None:
    """A server that was off for days, or whose clock was set, has not tried for all of them."""

    def away(first: int) -> None:
        if first >= 1000:
            raise JobWaits("the teacher is away")

    job = jobs.submit()
    for _ in range(2):
        jobs.executor(MadeUp(before=away)).step()
    for days in (3, -30, 3000):
        jobs.clock.now += days * 86_400
        jobs.executor(MadeUp(before=away)).step()
        waits = jobs.ledger.job(job.id)
        assert (waits.state, waits.waiting) == (JobState.RUNNING, "the teacher is away")
    jobs.clock.now += 60
    jobs.finish()
    assert jobs.ledger.job(job.id).state is JobState.DONE


def test_a_clock_that_was_ahead_leaves_nothing_waiting(jobs: Jobs) -> None:
    def away(_: int) -> None:
        raise JobWaits("the teacher is away")

    jobs.clock.now += 365 * 86_400
    job = jobs.submit()
    jobs.executor(MadeUp(before=away)).step()
    jobs.clock.now -= 365 * 86_400
    due = jobs.ledger.next_work(3600)
    assert due is not None
    assert due <= jobs.clock.now
    jobs.finish()
    assert jobs.ledger.job(job.id).state is JobState.DONE


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (JobFailed("payments version 1 is gone"), "payments version 1 is gone"),
        (PermissionError(13, "Permission denied"), "cannot be written: Permission denied"),
        (ZeroDivisionError("no"), "data/part-00000.parquet cannot be made: ZeroDivisionError: no"),
    ],
)
def test_what_cannot_succeed_fails_at_once_with_its_culprit(
    jobs: Jobs, error: Exception, said: str
) -> None:
    def fails(_: int) -> None:
        raise error

    job = jobs.submit()
    executor = jobs.executor(MadeUp(before=fails))
    assert executor.step()
    failed = jobs.ledger.job(job.id)
    assert (failed.state, failed.reason.endswith(said)) == (JobState.FAILED, True), failed.reason


def test_what_a_cancelled_job_has_made_is_removed(jobs: Jobs) -> None:
    job = jobs.submit()
    executor = jobs.executor()
    assert executor.step()
    assert contents(job.output)
    jobs.ledger.cancel(job.id, "not wanted")
    jobs.finish(executor)
    assert not Path(job.output).exists()
    assert jobs.ledger.job(job.id).is_clean


def test_a_job_is_cancelled_in_the_middle_of_a_file(jobs: Jobs) -> None:
    job = jobs.submit()

    def cancel(first: int) -> None:
        if first == 256:
            jobs.ledger.cancel(job.id, "not wanted")
            jobs.clock.now += 2  # it is time to renew

    drawing = MadeUp(before=cancel)
    jobs.finish(jobs.executor(drawing))
    assert drawing.drawn == [0, 256]
    assert not Path(job.output).exists()


def test_what_is_in_a_folder_beside_a_jobs_files_is_left_there(jobs: Jobs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = jobs.submit(output=str(out))
    executor = jobs.executor()
    executor.step()
    (out / "part-of-me.txt").write_text("mine")
    jobs.ledger.cancel(job.id, "not wanted")
    jobs.finish(executor)
    assert contents(out) == {"part-of-me.txt": b"mine"}


def test_jobs_that_ended_long_ago_are_forgotten_with_the_servers_own_files(
    jobs: Jobs, tmp_path: Path
) -> None:
    owned, elsewhere = jobs.submit(10), jobs.submit(10, output=str(tmp_path / "out"))
    executor = jobs.executor(forget_seconds=100)
    jobs.finish(executor)
    jobs.clock.now += 99
    assert not executor.step()
    jobs.clock.now += 1
    jobs.finish(executor)
    assert jobs.ledger.jobs() == []
    assert not Path(owned.output).exists()
    assert set(contents(elsewhere.output)) == {"data/part-00000.parquet", MANIFEST, *DESCRIPTIONS}


def test_a_job_beyond_the_quota_waits_until_there_is_room(jobs: Jobs) -> None:
    jobs.submit(10)
    jobs.finish()
    second = jobs.submit(10)
    executor = jobs.executor(quota_bytes=1, forget_seconds=100)
    assert executor.step()
    assert "job_disk_mib allows 1" in jobs.ledger.job(second.id).waiting
    jobs.clock.now += 100
    jobs.finish(executor)
    assert jobs.ledger.job(second.id).state is JobState.DONE


def test_of_the_quota_a_job_takes_nothing_that_writes_elsewhere(jobs: Jobs, tmp_path: Path) -> None:
    jobs.submit()
    jobs.finish()
    made = replace(SPECIFICATION, output=str(tmp_path / "out"))
    output = jobs.output_of(made)
    job, _ = jobs.ledger.submit(Asked(made, SHARD_ROWS), output, Limits(9, 100))
    jobs.finish(jobs.executor(quota_bytes=100))
    assert jobs.ledger.job(job.id).state is JobState.DONE
    with pytest.raises(TooManyJobs, match="max_jobs allows 0"):
        jobs.ledger.submit(Asked(made, SHARD_ROWS, fresh=True), output, Limits(0, 100))


def test_who_is_asked_to_stop_gives_back_what_it_has_begun(jobs: Jobs) -> None:
    job = jobs.submit()
    stop = Event()
    drawing = MadeUp(before=lambda first: stop.set() if first == 256 else None)
    jobs.executor(drawing).work(stop, wait=lambda *_: None)
    assert drawing.drawn == [0, 256]
    assert contents(job.output) == {}
    jobs.finish()
    assert jobs.ledger.job(job.id).state is JobState.DONE


def test_an_executor_ends_when_there_is_nothing_to_be_done(jobs: Jobs) -> None:
    job = jobs.submit()
    jobs.executor().work(Event(), wait=lambda *_: pytest.fail("there was work"))
    assert jobs.ledger.job(job.id).state is JobState.DONE


def test_fewer_rows_than_were_asked_for_are_no_file(jobs: Jobs) -> None:
    class TooFew(MadeUp):
        def rows(self, specification, conditions, shard):  # type: ignore[no-untyped-def]
            yield made_up(7, shard.first, shard.rows - 1)

    job = jobs.submit()
    jobs.executor(TooFew()).step()
    assert "999 rows were drawn of 1,000" in jobs.ledger.job(job.id).reason
