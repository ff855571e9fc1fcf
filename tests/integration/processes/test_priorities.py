"""Who answers comes before who computes for later: what the system is told of each process."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil
from cascade_client.job_control import Jobs

from tests.integration.serving import serve, until
from tests.releases import TABLE
from tests.typed import CASCADE

# Of a process that runs only while nobody else would, beside programs that take every processor.
PATIENCE = 300.0


def test_a_teacher_and_an_executor_interrupt_nobody(repository: Path, tmp_path: Path) -> None:
    options = ("--repository", str(repository), "--state-dir", str(tmp_path), "--pool-mib", "0")
    with serve(*options, program=CASCADE) as served, served.client() as client:
        worker = os.getpriority(os.PRIO_PROCESS, served.process.pid)
        found = {scheduling(each) for each in served.children}
        assert {(os.SCHED_OTHER, worker), (os.SCHED_IDLE, 19)} <= found
        there = {each.pid for each in served.children}
        Jobs(client).submit(TABLE, 100_000, fidelity="fast", seed=77)

        def has_come() -> bool:
            come = [each for each in served.children if each.pid not in there]
            return any(scheduling(each) == (os.SCHED_IDLE, 19) for each in come)

        until(has_come, PATIENCE)


def scheduling(process: psutil.Process) -> tuple[int, int]:
    """Its policy and its niceness; (-1, 0) if it has ended."""
    with suppress(psutil.Error, ProcessLookupError):
        return os.sched_getscheduler(process.pid), process.nice()
    return -1, 0
