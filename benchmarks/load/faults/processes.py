"""Faults of a server's own processes: killed, or stopped for a while."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import psutil
from cascade_client import Client
from cascade_client.job_handles import JobHandle

from benchmarks.load.faults.stage import Stage, until

STOPPED_SECONDS = 2.0
# Rows of the job that an executor is killed beside: of several files.
JOB_ROWS, JOB_SEED = 60_000, 11


class Injected:
    """What was done.

    Attributes:
        began, over: monotonic seconds; see `judging.seen`.
        kept, notes: see `judging.Found`.
    """

    def __init__(self) -> None:
        self.began = self.over = time.monotonic()
        self.kept: dict[str, bool] = {}
        self.notes: dict[str, Any] = {}

    def is_over(self) -> None:
        """From now on it can be recovered from."""
        self.over = time.monotonic()


def killed(stage: Stage, process: psutil.Process, name: str) -> Injected:
    """Kill a process that is started again, and wait until it is ready."""
    said = stage.said
    done = Injected()
    process.kill()
    away = stage.until_said(rf"{name} is ready again, after (\S+) s", said)
    done.notes["process_away_s"] = float(away[1])
    return done


def kill_worker(stage: Stage, table: str) -> Injected:
    """kill -9 of one of two workers."""
    return killed(stage, stage.workers[0], r"worker \d")


def kill_teacher(stage: Stage, table: str) -> Injected:
    """kill -9 of the teacher's process."""
    return killed(stage, stage.teacher, "the teacher")


def kill_keeper(stage: Stage, table: str) -> Injected:
    """kill -9 of the process that keeps the books."""
    before, since = stage.events(table), stage.since
    done = killed(stage, stage.keeper, "the books' keeper")
    done.kept["counts go on"] = stage.events(table) >= before
    done.kept["budgets go on"] = stage.since == since
    return done


def kill_executor(stage: Stage, table: str) -> Injected:
    """kill -9 of the executor beside a job that it works off."""
    with stage.client(60) as client:
        undisturbed = _files(
            client, client.submit(table, JOB_ROWS, fidelity="fast", seed=JOB_SEED).wait(300)
        )
        job = client.submit(table, JOB_ROWS, fidelity="fast", seed=JOB_SEED, fresh=True)
        until(lambda: job.refresh().files_done > 0)
        (executor,) = stage.executors
        done = Injected()
        executor.kill()
        again = _files(client, job.wait(300))
        done.notes["job_rows"] = job.status.rows_done
        done.kept["every row of the job is there"] = job.status.rows_done == JOB_ROWS
        done.kept["its files are those of an undisturbed one"] = again == undisturbed
    return done


def _files(client: Client, job: JobHandle) -> Mapping[str, str]:
    files = client.jobs.get(job.id, files=True).result_files
    return {each.name: each.sha256 for each in files if each.name.endswith(".parquet")}


def stopped(process: psutil.Process) -> Injected:
    """Stop a process for two seconds."""
    done = Injected()
    process.suspend()
    time.sleep(STOPPED_SECONDS)
    process.resume()
    done.is_over()
    return done


def stop_worker(stage: Stage, table: str) -> Injected:
    """SIGSTOP of one of two workers for 2 s."""
    return stopped(stage.workers[0])


def stop_teacher(stage: Stage, table: str) -> Injected:
    """SIGSTOP of the teacher's process for 2 s."""
    return stopped(stage.teacher)
