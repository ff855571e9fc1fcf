"""The main function of an executor: a process of lowest priority that lives while there is work."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cascade_jobs.errors import LedgerRefused, PolicyRefused
from cascade_jobs.executor import Drawing, Executor, ExecutorConfig, leave
from cascade_jobs.job import Job
from cascade_jobs.ledger import NAME, Ledger
from cascade_jobs.ledger.owners import Owner

from cascade_server.config import ServerConfig
from cascade_server.counts.shared.compute import ComputeCounts
from cascade_server.engines.teacher_link import TeacherLink
from cascade_server.errors import ServerError
from cascade_server.jobs.courtesy import Courtesy
from cascade_server.jobs.desk import folder_of
from cascade_server.jobs.drawing import ReleaseDrawing
from cascade_server.jobs.gates import gate_of
from cascade_server.jobs.metering import JobMetering
from cascade_server.jobs.ray_cluster.drawing import RayDrawing
from cascade_server.supervision import loading
from cascade_server.supervision.control import Control
from cascade_server.supervision.crews import Post

NICENESS = 19
# Seconds for which an idle executor looks for more work before it ends, and between checks: loading
# a release again takes as long.
LINGER, LOOK = 3.0, 0.2


async def execute(
    config: ServerConfig,
    post: Post,
    answered: Callable[[], int],
    counts: ComputeCounts | None = None,
) -> None:
    """Run jobs until there are none, or until SIGTERM.

    Args:
        config: configuration of the generation that answers, whose teacher it uses.
        post: the connection to the supervisor.
        answered: returns how many real-time calls that generation has answered.
        counts: where to count the usage by jobs; None to count nothing.

    Raises:
        ServerError: the ledger cannot be used.
    """
    assert config.state_dir is not None
    os.nice(NICENESS)
    # Includes all threads that are started from now on.
    loading.all_yield_to_all()
    folder, stop = folder_of(config.state_dir), threading.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    Control(post, {}, orphaned=stop.set)
    post.tell(ready=True)
    due = next_work(config)
    if due is None or due > time.time():
        return
    teachers, metering = None, None if counts is None else JobMetering(counts)
    drawing: ReleaseDrawing | RayDrawing
    if config.draws_on_ray:
        drawing = RayDrawing(config.executor, config.repository, config.teacher_threads)
    else:
        if config.teacher_socket is not None:
            teachers = TeacherLink(config.teacher_socket)
            teachers.start()
        drawing = ReleaseDrawing(
            config.repository,
            loop,
            teachers,
            config.teacher_threads,
            Courtesy(answered),
            metering,
        )
    try:
        await loop.run_in_executor(None, _work, config, folder, drawing, stop, metering)
    except LedgerRefused as exc:
        raise ServerError(str(exc)) from exc
    finally:
        drawing.close()
        if teachers is not None:
            teachers.stop()


def _work(
    config: ServerConfig,
    folder: Path,
    drawing: Drawing,
    stop: threading.Event,
    metering: JobMetering | None,
) -> None:
    """Run the jobs that exist, and those that arrive in the seconds after."""
    assert config.state_dir is not None

    def turns_to(job: Job) -> None:
        if metering is not None:
            metering.works_for(job.specification.table, job.tenant)

    ledger, owner = Ledger(folder / NAME), Owner(owners_of(config.state_dir))
    executor = Executor(
        ledger,
        drawing,
        owner,
        folder,
        ExecutorConfig(quota_bytes=config.job_disk_bytes, forget_seconds=config.job_seconds),
        gate=gate_of(config),
        turns_to=turns_to,
    )
    try:
        lingers_until = 0.0
        while not stop.is_set():
            if not lingers_until or ledger.has_changed():
                executor.work(stop)
                lingers_until = time.monotonic() + LINGER
            if time.monotonic() >= lingers_until:
                return
            stop.wait(LOOK)
    finally:
        leave(owner, ledger)


def owners_of(state_dir: Path) -> Path:
    """Return the folder where the executors of a state folder hold their locks."""
    return folder_of(state_dir) / "owners"


def next_work(config: ServerConfig) -> float | None:
    """Return when there is work in a server's job folder, or None.

    The time is in seconds since 1970-01-01 UTC. Jobs that the policy forbids to its executors do
    not count.

    Raises:
        ServerError: the ledger cannot be used.
    """
    if config.state_dir is None:
        return None
    path, gate = folder_of(config.state_dir) / NAME, gate_of(config)
    if not path.exists():
        return None
    try:
        key = "" if gate is None else gate.now().key
    except PolicyRefused:
        # The executor waits until it can be read, and reports that.
        key = ""
    try:
        with Ledger(path) as ledger:
            return ledger.next_work(config.job_seconds, key)
    except LedgerRefused as exc:
        raise ServerError(str(exc)) from exc
