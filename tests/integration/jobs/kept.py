"""Servers that keep jobs, what jobs have made, and the processes that make it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from cascade_client.job_control import Jobs
from cascade_client.values.jobs import Job, JobState

from tests.integration.serving import Served, serve, until


@contextmanager
def keeping(repository: Path, state: Path, *options: str) -> Iterator[Served]:
    """A server that keeps jobs."""
    given = ("--repository", str(repository), "--state-dir", str(state), "--pool-mib", "0")
    with serve(*given, *options) as served:
        yield served


def contents(output: str) -> dict[str, str]:
    """Checksums of all files of an output, by their paths below it."""
    files = sorted(each for each in Path(output).rglob("*") if each.is_file())
    return {
        each.relative_to(output).as_posix(): hashlib.sha256(each.read_bytes()).hexdigest()
        for each in files
    }


def done(jobs: Jobs, job: Job) -> Job:
    ended = jobs.wait(job.id)
    assert ended.state is JobState.DONE, ended.reason
    return ended


def executors(served: Served) -> list[psutil.Process]:
    """Processes that hold an executor's lock."""
    found = []
    for each in psutil.Process(served.process.pid).children():
        with suppress(psutil.Error):
            if any("/owners/" in file.path for file in each.open_files()):
                found.append(each)
    return found


def stop_executor(served: Served, before: int) -> int:
    """Have the executor stand still, once it is another than before; its process."""
    until(lambda: any(each.pid != before for each in executors(served)))
    (executor,) = (each for each in executors(served) if each.pid != before)
    executor.suspend()
    return executor.pid
