"""Tables and files that jobs are to write, looked at before a row is drawn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cascade_jobs.retrying import RetryConfig
from cascade_jobs.states import JobState

from tests.jobs.made_up import Jobs, MadeUp


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
