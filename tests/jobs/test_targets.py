"""Tables and files that jobs are to write, looked at before a row is drawn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cascade_jobs.retrying import RetryConfig
from cascade_jobs.states import JobState
from cascade_tables.connectors import sinks

from tests.jobs.made_up import Jobs, MadeUp, made_up


def test_a_file_that_somebody_has_locked_is_waited_for(jobs: Jobs, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    held = tmp_path / "made.duckdb"
    output = f"duckdb:///{held}#rows"
    code = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print(flush=True); input()"
    pipe = subprocess.PIPE
    job, drawing = jobs.submit_whole(output), MadeUp()
    executor = jobs.executor(drawing, retry=RetryConfig(first_seconds=1.0))
    with subprocess.Popen(
        [sys.executable, "-c", code, str(held)], stdin=pipe, stdout=pipe
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        jobs.finish(executor)
        other.communicate(b"\n")
    waits = jobs.ledger.job(job.id)
    assert "is busy: " in waits.waiting
    assert drawing.drawn == []
    jobs.clock.now += 60
    jobs.finish(executor)
    assert jobs.ledger.job(job.id).state is JobState.DONE
    with duckdb.connect(str(held)) as connection:
        assert connection.execute("SELECT count(*) FROM rows").fetchone() == (2500,)


def test_a_table_that_lacks_a_column_fails_a_job_before_a_row_is_drawn(
    jobs: Jobs, tmp_path: Path
) -> None:
    pytest.importorskip("adbc_driver_sqlite")
    output, drawing = f"sqlite:///{tmp_path}/made.db#rows", MadeUp()
    sinks.write_table(output, made_up(1, 0, 0).to_arrow().select(["number"]))
    job = jobs.submit_whole(output)
    jobs.finish(jobs.executor(drawing))
    failed = jobs.ledger.job(job.id)
    assert failed.state is JobState.FAILED
    assert "has no columns 'label'; it has 'number'" in failed.reason
    assert drawing.drawn == []


def test_so_does_a_name_that_is_for_what_is_beside_tables(jobs: Jobs, tmp_path: Path) -> None:
    pytest.importorskip("adbc_driver_sqlite")
    drawing = MadeUp()
    job = jobs.submit_whole(f"sqlite:///{tmp_path}/made.db#cascade_jobs")
    jobs.finish(jobs.executor(drawing))
    failed = jobs.ledger.job(job.id)
    assert failed.state is JobState.FAILED
    assert "'cascade_jobs' is for what Cascade writes down" in failed.reason
    assert drawing.drawn == []
