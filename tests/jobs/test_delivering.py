"""Jobs whose rows go into one table or file: once, whole, whatever happens on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cascade_jobs import delivering
from cascade_jobs.job import MANIFEST
from cascade_jobs.retrying import RetryConfig
from cascade_jobs.states import JobState
from cascade_tables.connectors import sinks
from cascade_tables.connectors.locations import PASSWORD
from cascade_tables.connectors.sources import fetch_source

from tests import postgres as pg
from tests.jobs.made_up import SPECIFICATION, Jobs, MadeUp, contents, made_up

EXPECTED = made_up(SPECIFICATION.seed, 0, 2500).to_rows()


class Killed(BaseException):
    """The process is gone: nothing is tidied up."""


@pytest.fixture(params=["postgresql", "sqlite", "delta", "csv", "parquet"])
def output(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    kind = request.param
    if kind == "postgresql":
        server: pg.Server = request.getfixturevalue("postgres")
        monkeypatch.setenv(PASSWORD, pg.PASSWORD)
        yield f"{server.url}#made.rows"
        server.run("DROP SCHEMA IF EXISTS made CASCADE")
        return
    yield {
        "sqlite": f"sqlite:///{tmp_path}/made.db#rows",
        "delta": f"delta://{tmp_path}/made",
        "csv": f"{tmp_path}/made/rows.csv",
        "parquet": f"{tmp_path}/made/rows.parquet",
    }[kind]


@pytest.fixture(autouse=True)
def _schema(output: str, request: pytest.FixtureRequest) -> None:
    if output.startswith("postgresql"):
        request.getfixturevalue("postgres").run("CREATE SCHEMA made")
    elif output.startswith("sqlite"):
        pytest.importorskip("adbc_driver_sqlite")
    elif output.startswith("delta"):
        pytest.importorskip("deltalake")


def rows(output: str, tmp_path: Path) -> list[dict[str, Any]]:
    """What is at an output, in the order of the job."""
    url = output if "://" in output else f"file://{output}"
    (path,) = fetch_source(url, tmp_path / "in")
    if path.suffix == ".csv":
        from pyarrow import csv

        table = csv.read_csv(path, convert_options=csv.ConvertOptions(strings_can_be_null=True))
    else:
        table = pq.read_table(path)
    path.unlink()
    # Delta Lake keeps rows in files that have no order.
    order = [(name, "ascending") for name in table.column_names]
    return (table.sort_by(order) if output.startswith("delta") else table).to_pylist()


def expected(output: str) -> list[dict[str, Any]]:
    """What is to be there."""
    if not output.startswith("delta"):
        return EXPECTED
    return sorted(EXPECTED, key=lambda row: (row["number"], row["label"] or "~"))


def test_all_rows_are_there_and_in_files_too(jobs: Jobs, output: str, tmp_path: Path) -> None:
    job = jobs.submit_whole(output)
    jobs.finish()
    assert jobs.ledger.job(job.id).state is JobState.DONE
    assert rows(output, tmp_path) == expected(output)
    manifest = json.loads(contents(job.output)[MANIFEST])
    assert manifest["specification"]["output"] == output


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_who_is_killed_while_they_are_written_writes_them_once(
    jobs: Jobs, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Before anything was sent, before the end of the transaction, and behind it."""
    job = jobs.submit_whole(output)
    write = sinks.write_files

    def killed(url: str, files: Any, mark: Any, still_wanted: Callable[[], None]) -> bool:
        def end() -> None:
            if moment == "within":
                raise Killed

        if moment != "before":
            write(url, files, mark, still_wanted=end)
        raise Killed

    monkeypatch.setattr(sinks, "write_files", killed)
    for _ in range(3):
        executor = jobs.executor()
        with suppress(Killed):  # a driver may make another error of it, and the job waits
            jobs.finish(executor)
        jobs.clock.now += 60
        jobs._owners[-1].leave()
    assert jobs.ledger.job(job.id).state is JobState.RUNNING
    monkeypatch.setattr(sinks, "write_files", write)
    jobs.finish()
    assert jobs.ledger.job(job.id).state is JobState.DONE
    assert rows(output, tmp_path) == expected(output)


def test_what_is_there_already_is_left_alone_and_said_before_a_row_is_drawn(
    jobs: Jobs, output: str, tmp_path: Path
) -> None:
    sinks.write_table(output, made_up(1, 0, 5))
    drawing = MadeUp()
    job = jobs.submit_whole(output)
    jobs.finish(jobs.executor(drawing))
    failed = jobs.ledger.job(job.id)
    assert failed.state is JobState.FAILED
    assert "is there" in failed.reason
    assert "name a " in failed.reason
    assert drawing.drawn == []
    assert len(rows(output, tmp_path)) == 5


def test_a_job_that_is_cancelled_while_its_rows_are_written_leaves_none(
    jobs: Jobs, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.submit_whole(output)
    write = sinks.write_files

    def cancelled(url: str, files: Any, mark: Any, still_wanted: Callable[[], None]) -> bool:
        def end() -> None:
            jobs.open().cancel(job.id, "not wanted")
            still_wanted()

        return write(url, files, mark, still_wanted=end)

    monkeypatch.setattr(sinks, "write_files", cancelled)
    jobs.finish()
    assert jobs.ledger.job(job.id).state is JobState.CANCELLED
    sinks.check(output)


def test_one_that_is_cancelled_in_the_very_moment_takes_them_back(
    jobs: Jobs, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.submit_whole(output)
    write = sinks.write_files

    def cancelled(url: str, files: Any, mark: Any, still_wanted: Callable[[], None]) -> bool:
        written = write(url, files, mark, still_wanted=still_wanted)
        jobs.open().cancel(job.id, "not wanted")
        return written

    monkeypatch.setattr(sinks, "write_files", cancelled)
    jobs.finish()
    assert jobs.ledger.job(job.id).state is JobState.CANCELLED
    sinks.check(output)


def test_what_others_write_there_in_the_meantime_is_left_alone(
    jobs: Jobs, output: str, tmp_path: Path
) -> None:
    """Nothing is there when a job begins; hours later there may be. It stays, also when who waits
    for the place is told to wait no longer."""
    job = jobs.submit_whole(output)
    executor = jobs.executor()
    for _ in range(3):
        executor.step()
    sinks.write_table(output, made_up(1, 0, 5))
    jobs.finish(executor)
    waits = jobs.ledger.job(job.id)
    assert waits.state is JobState.RUNNING
    assert "is there" in waits.waiting
    assert len(rows(output, tmp_path)) == 5
    jobs.ledger.cancel(job.id, "not wanted")
    jobs.finish(executor)
    assert len(rows(output, tmp_path)) == 5


def test_a_job_that_is_forgotten_leaves_its_rows(jobs: Jobs, output: str, tmp_path: Path) -> None:
    job = jobs.submit_whole(output)
    jobs.finish()
    jobs.clock.now += 8 * 86_400
    jobs.finish(jobs.executor())
    assert not Path(job.output).exists()
    assert rows(output, tmp_path) == expected(output)


def test_a_database_that_is_away_is_waited_for(
    jobs: Jobs, output: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if not output.startswith("postgresql"):
        pytest.skip("is never away")
    server: pg.Server = request.getfixturevalue("postgres")
    job = jobs.submit_whole(output)
    executor = jobs.executor(retry=RetryConfig(first_seconds=1.0))
    for _ in range(3):
        executor.step()
    server.stop()
    try:
        executor.step()
        waits = jobs.ledger.job(job.id)
        assert waits.state is JobState.RUNNING
        assert "cannot be reached: " in waits.waiting
        assert pg.PASSWORD not in waits.waiting
    finally:
        server.start()
    jobs.clock.now += 60
    jobs.finish(executor)
    assert jobs.ledger.job(job.id).state is JobState.DONE
    assert rows(output, tmp_path) == expected(output)


def test_no_password_is_in_the_ledger_or_in_a_file(jobs: Jobs, output: str) -> None:
    if not output.startswith("postgresql"):
        pytest.skip("has none")
    jobs.submit_whole(output)
    jobs.finish()
    held = [each for each in jobs.folder.rglob("*") if each.is_file()]
    assert len(held) >= 5
    for each in held:
        for secret in (pg.PASSWORD, "s3cr3t"):
            assert secret.encode() not in each.read_bytes(), each


def test_folders_and_nothing_are_not_delivered() -> None:
    found = ["", "/data/rows", "s3://bucket/rows"]
    assert [delivering.is_delivered(each) for each in found] == [False] * 3
