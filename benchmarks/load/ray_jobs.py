"""A job of the teacher's rows on a Ray cluster of one worker and of two, on this machine.

`cascade serve --executor ray://…`, which starts anew for each cluster. A smaller job goes before,
so that the workers have their release. Rows a second are of a whole job, from its first lease to
its manifest.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

from cascade_client import Client
from cascade_client.job_control import Jobs
from cascade_client.values.jobs import Job, JobState
from cascade_loadtest.servers import default_server, serving

from benchmarks.peers.ray_cluster import ray_cluster

ROOT = Path(__file__).parents[2]
# Slabs of the teacher's rows are of 1,024: each worker has drawn some before it is measured.
WARM_ROWS = 4096


def finished(jobs: Jobs, job: Job) -> Job:
    """The job once it is done."""
    ended = jobs.wait(job.id)
    if ended.state is not JobState.DONE:
        raise SystemExit(f"job {job.id} is {ended.state}: {ended.reason}")
    return ended


def rows_per_s(repository: Path, table: str, rows: int, workers: int) -> float:
    """Of a job on a cluster of so many workers."""
    with (
        ray_cluster(workers) as cluster,
        tempfile.TemporaryDirectory(prefix="cascade-ray-") as state,
        serving(
            default_server(repository, "--state-dir", state, "--executor", cluster.address)
        ) as server,
        Client(server.target, timeout=60) as client,
    ):
        jobs = Jobs(client)
        finished(jobs, jobs.submit(table, WARM_ROWS, fidelity="full", seed=2))
        job = finished(jobs, jobs.submit(table, rows, fidelity="full", seed=1))
    assert job.started is not None
    assert job.finished is not None
    rate = job.rows / (job.finished - job.started).total_seconds()
    print(f"{workers} worker{'s' * (workers > 1)}: {rate:,.0f} rows/s", flush=True)
    return rate


def speedup(repository: Path, table: str, rows: int, rounds: int) -> dict[str, object]:
    """By how much two workers are faster than one, by turns."""
    found = {workers: list[float]() for workers in (1, 2)}
    for _ in range(rounds):
        for workers, rates in found.items():
            rates.append(rows_per_s(repository, table, rows, workers))
    one, two = (statistics.median(rates) for rates in found.values())
    return {
        "ray_rows_per_s_1": round(one),
        "ray_rows_per_s_2": round(two),
        "ray_speedup_2": round(two / one, 3),
    }


def main() -> None:
    """Start a cluster, then a server, and have rows made."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray_jobs", description=__doc__)
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--table", default="adult")
    parser.add_argument("--rows", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    figures = speedup(options.repository, options.table, options.rows, options.rounds)
    told = {"table": options.table, "rows": options.rows, **figures, "cores": os.cpu_count()}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
