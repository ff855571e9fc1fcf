"""Whoever writes a job's rows into a real database is killed in the midst of it: the rows are there
once in the end."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pyarrow.parquet as pq
import pytest
from cascade_client import Client
from cascade_client.connected_tables import read_rows
from cascade_client.job_control import Jobs
from cascade_client.values.jobs import Job
from cascade_tables.connectors.locations import PASSWORD

from tests import postgres as pg
from tests.integration.jobs.kept import done, executors, keeping
from tests.integration.serving import SOON, Served, until
from tests.releases import TABLE

pytest.importorskip("adbc_driver_sqlite")

# So many that writing them takes a while.
ROWS = 100_000


@pytest.fixture
def served(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv(PASSWORD, pg.PASSWORD)
    with keeping(repository, tmp_path / "state") as one:
        yield one


@pytest.fixture
def jobs(served: Served, tmp_path: Path) -> Iterator[Jobs]:
    """Of who may have rows written anywhere."""
    with Client(f"unix:{tmp_path}/state/control.sock") as client:
        yield Jobs(client)


def kill_executor(served: Served) -> int:
    (executor,) = executors(served)
    executor.send_signal(signal.SIGKILL)
    until(lambda: not psutil.pid_exists(executor.pid))
    return executor.pid


def made(jobs: Jobs, job: Job, folder: Path) -> list[dict[str, Any]]:
    """A job's rows, by the files that the server has."""
    jobs.fetch(job.id, folder)
    rows: list[dict[str, Any]] = pq.read_table(folder / "data").to_pylist()
    return rows


def alike(rows: list[dict[str, Any]]) -> list[str]:
    """Rows in an order of their own: a database has none."""
    return sorted(str(sorted(row.items())) for row in rows)


def caught_writing(served: Served, journal: Path, ended: Any) -> bool:
    """Whether the executor stands still while its transaction is open; else it was too quick."""
    limit = time.monotonic() + SOON
    while time.monotonic() < limit:
        if journal.exists():
            with suppress(psutil.Error, ValueError):
                (executor,) = executors(served)
                executor.suspend()
                if journal.exists():
                    return True
                executor.resume()
            return False
        if ended():
            return False
        time.sleep(0.001)
    raise TimeoutError(f"nobody wrote to {journal}")


def test_sqlite(served: Served, jobs: Jobs, tmp_path: Path) -> None:
    """A transaction is open while there is a journal beside the file."""
    for number in range(5):
        path = tmp_path / f"bank{number}.db"
        job = jobs.submit(
            TABLE, ROWS, fidelity="fast", seed=number, output=f"sqlite:///{path}#made"
        )
        journal = path.with_name(f"{path.name}-journal")
        if caught_writing(served, journal, lambda job=job: jobs.get(job.id).state.is_final):
            break
    else:
        pytest.fail("the executor was quicker each time")
    kill_executor(served)
    assert journal.exists()
    assert not jobs.get(job.id).state.is_final
    done(jobs, job)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT job, row_count FROM cascade_jobs").fetchall() == [
            (job.id, ROWS)
        ]
    found, expected = read_rows(f"sqlite:///{path}#made"), made(jobs, job, tmp_path / "fetched")
    assert found.num_rows == ROWS
    for name in ("channel", "items"):
        assert Counter(found[name].to_pylist()) == Counter(row[name] for row in expected)


STAND_STILL = """
CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$;
CREATE TABLE made_killed (LIKE made_before);
CREATE TRIGGER stand_still AFTER INSERT ON made_killed EXECUTE FUNCTION stand_still();
"""


def test_postgresql(served: Served, jobs: Jobs, tmp_path: Path, postgres: pg.Server) -> None:
    """All rows are written, and nothing is committed, where the table's trigger waits for a lock;
    then who writes them is killed, and who comes next, too."""
    dbapi = pytest.importorskip("adbc_driver_postgresql.dbapi")

    def waiting(kind: str) -> bool:
        asked = f"SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = '{kind}'"
        return postgres.run(asked) != "0"

    try:
        url = f"{postgres.url}#made_before"
        done(jobs, jobs.submit(TABLE, 10, fidelity="fast", seed=1, output=url))
        postgres.run(STAND_STILL)
        uri = postgres.url.replace("@", f":{quote(pg.PASSWORD, safe='')}@")
        with closing(dbapi.connect(uri)) as holder, closing(holder.cursor()) as cursor:
            cursor.execute("SELECT pg_advisory_lock(7)")
            cursor.fetchall()
            url = f"{postgres.url}#made_killed"
            job = jobs.submit(TABLE, 5_000, fidelity="fast", seed=2, output=url)
            until(lambda: waiting("advisory"))
            first = kill_executor(served)
            # The database has not noticed: the next one waits for what the first has begun.
            until(lambda: any(each.pid != first for each in executors(served)))
            until(lambda: waiting("transactionid"))
            kill_executor(served)
            assert not jobs.get(job.id).state.is_final
            assert postgres.run("SELECT count(*) FROM made_killed") == "0"
        done(jobs, job)
        marks = f"SELECT count(*) FROM cascade_jobs WHERE job = '{job.id}'"
        assert postgres.run(marks) == "1"
        found = read_rows(url).to_pylist()
        assert alike(found) == alike(made(jobs, job, tmp_path / "fetched"))
    finally:
        postgres.run(
            "DROP TABLE IF EXISTS made_before, made_killed, cascade_jobs; "
            "DROP FUNCTION IF EXISTS stand_still"
        )
