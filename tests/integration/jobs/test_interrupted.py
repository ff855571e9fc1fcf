"""Jobs that are stopped, gone on with, and killed at any moment."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from cascade_client import Client
from cascade_client.job_control import Jobs
from cascade_client.values.jobs import JobState

from tests.integration.jobs.kept import contents, done, executors, keeping, stop_executor
from tests.integration.serving import CASCADE, SOON, Served, until
from tests.releases import TABLE, make_release

# Of `make kill-test`; in the suite a few are made.
KILLS = int(os.environ.get("CASCADE_KILLS", "4"))
SEED = int(os.environ.get("CASCADE_KILL_SEED", "1"))


def test_an_executor_is_there_while_there_is_work(served: Served, jobs: Jobs) -> None:
    until(lambda: not executors(served))
    before = len(served.children)
    job = jobs.submit(TABLE, 100_000, fidelity="fast", seed=77)
    until(lambda: len(executors(served)) == 1)
    (executor,) = executors(served)
    with suppress(psutil.Error):  # it may have ended since
        assert executor.nice() == 19
        assert os.sched_getscheduler(executor.pid) == os.SCHED_IDLE
    done(jobs, job)
    until(lambda: len(served.children) == before)


def test_a_cancelled_job_leaves_nothing(served: Served, jobs: Jobs) -> None:
    job = jobs.submit(TABLE, 100_000, fidelity="full", seed=1)
    until(lambda: jobs.get(job.id).rows_done > 0)
    cancelled = jobs.cancel(job.id)
    assert (cancelled.state, cancelled.reason) == (JobState.CANCELLED, "cancelled by a caller")
    until(lambda: not Path(job.output).exists())
    assert jobs.wait(job.id).state is JobState.CANCELLED


def test_two_servers_do_not_share_a_folder(served: Served, repository: Path) -> None:
    arguments = psutil.Process(served.process.pid).cmdline()
    state = arguments[arguments.index("--state-dir") + 1]
    result = subprocess.run(
        [*CASCADE, "serve", "--port", "0", "--repository", str(repository), "--state-dir", state],
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
    )
    assert result.returncode == 1
    assert "is in use by another server" in result.stderr


def test_a_server_that_is_stopped_and_started_goes_on(repository: Path, tmp_path: Path) -> None:
    with keeping(repository, tmp_path / "state") as served, served.client() as client:
        job = Jobs(client).submit(TABLE, 40_000, fidelity="full", seed=4)
        until(lambda: Jobs(client).get(job.id).files_done > 0)
        kept = {
            each.name: each.sha256 for each in Jobs(client).get(job.id, files=True).result_files
        }
    with keeping(repository, tmp_path / "state") as served, served.client() as client:
        jobs = Jobs(client)
        # Nobody has to ask for it.
        until(lambda: jobs.get(job.id).files_done > len(kept))
        found = jobs.get(job.id, files=True)
        assert kept.items() <= {each.name: each.sha256 for each in found.result_files}.items()
        jobs.cancel(job.id)


@pytest.mark.parametrize("fidelity", ["fast", "full"])
def test_a_job_keeps_to_its_release_whatever_is_loaded_and_unloaded(
    repository: Path, tmp_path: Path, fidelity: str
) -> None:
    """New processes answer, with another version and another teacher's process. Unloaded, the
    release is still in the repository, and its teacher in nobody's process but the executor's."""
    folder = Path(shutil.copytree(repository, tmp_path / "repository"))
    rows = 100_000 if fidelity == "fast" else 17_000
    with keeping(folder, tmp_path / "state") as served, served.client() as client:
        jobs = Jobs(client)
        expected = contents(done(jobs, jobs.submit(TABLE, rows, fidelity=fidelity, seed=6)).output)
        job = jobs.submit(TABLE, rows, fidelity=fidelity, seed=6, fresh=True)
        make_release(folder, version=2, seed=8)
        with Client(f"unix:{tmp_path}/state/control.sock", timeout=SOON) as control:
            stopped = stop_executor(served, 0)
            control.releases.load(TABLE)
            stop_executor(served, stopped)
            control.releases.unload(TABLE, 1)
        assert not jobs.get(job.id).state.is_final
        ended = done(jobs, job)
        assert ended.version == 1
        assert contents(ended.output) == expected
        assert jobs.submit(TABLE, 5, fidelity="fast").version == 2


def processes_of(served: Served) -> dict[str, psutil.Process]:
    """Those that may be killed, by what they are."""
    server = psutil.Process(served.process.pid)
    found = {"server": server}
    holding = {each.pid for each in executors(served)}
    for each in server.children():
        with suppress(psutil.Error):
            if each.pid in holding:
                found["executor"] = each
            elif each.nice() == 19:
                found["teacher"] = each
            else:
                found["worker"] = each
    return found


@pytest.mark.parametrize("fidelity", ["fast", "full"])
@pytest.mark.timeout(3600)
def test_whoever_is_killed_nothing_is_lost_and_nothing_doubled(
    repository: Path, tmp_path: Path, fidelity: str
) -> None:
    """kill -9 at moments that a seed says, of the server, a worker, the teacher and the executor:
    the job ends with the files of a run that nobody disturbed."""
    rng = random.Random(f"{SEED} {fidelity}")
    rows = 60_000 if fidelity == "fast" else 12_000
    with keeping(repository, tmp_path / "undisturbed") as served, served.client() as client:
        undisturbed = done(
            Jobs(client), Jobs(client).submit(TABLE, rows, fidelity=fidelity, seed=3)
        )
        seconds = undisturbed.finished - undisturbed.started  # type: ignore[operator]
        expected = contents(undisturbed.output)
    made, kills, job = 0, 0, None
    while kills < KILLS:
        with keeping(repository, tmp_path / "disturbed") as served, served.client() as client:
            jobs = Jobs(client)
            while kills < KILLS and served.process.poll() is None:
                if job is None or jobs.get(job.id).state.is_final:
                    if job is not None:
                        assert contents(done(jobs, job).output) == expected
                        made += 1
                    job = jobs.submit(TABLE, rows, fidelity=fidelity, seed=3, fresh=True)
                # Several to a job, wherever they come.
                time.sleep(rng.random() * max(0.2, seconds.total_seconds()) / 2)
                found = processes_of(served)
                who = rng.choice(sorted(found))
                with suppress(psutil.Error):
                    found[who].send_signal(signal.SIGKILL)
                    kills += 1
                if who == "server":
                    served.process.wait(SOON)
    assert job is not None
    with keeping(repository, tmp_path / "disturbed") as served, served.client() as client:
        assert contents(done(Jobs(client), job).output) == expected
