"""Offline jobs: how fast they are made, in how much memory, what a kill costs, and what real-time
calls notice of them.

`cascade serve` with a state folder and nothing else said. Rows a second are of a whole job, from
its first lease to its manifest. A job is killed (the process that makes it, with SIGKILL) and
`resume_seconds` is from then until rows of it are made again. Real-time calls come one after
another to the student, by turns with nothing beside them, with a job, and with processes of the
idle scheduling class that count: one (`one_counter_p99_ratio`), and one a processor
(`counters_p99_ratio`), which is what the machine's scheduler gives. Each round has a median and a
p99 of its own of each: `realtime_p99_ms` and `beside_p99_ms` are the medians of the rounds' p99,
and ratios the medians of the rounds' ratios, not those of all calls together. The student's job is
read over Arrow Flight, by turns with pyarrow's own server on the same files (`benchmarks.flight`
does that alone). Where Ray is installed, the teacher's job is made by clusters of one worker and of
two (`benchmarks.ray_jobs` does that alone).

The last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import psutil
from cascade_client import Client
from cascade_client.job_control import Jobs
from cascade_client.messages.wire import Fidelity
from cascade_client.values.jobs import Job
from cascade_loadtest.servers import Served, default_server, serving

from benchmarks.load.flight import compared
from benchmarks.load.ray_jobs import finished, speedup
from benchmarks.load.rounds import Rounds
from benchmarks.peers.idle_counter import counting
from benchmarks.peers.ray_cluster import IS_INSTALLED

ROOT = Path(__file__).parents[2]
LOOK_SECONDS = 0.02
MIB = 2**20


def executor_of(server: int) -> psutil.Process | None:
    """The process that makes files now: it holds a lock among the owners of the ledger."""
    for each in psutil.Process(server).children():
        with suppress(psutil.Error):
            if any("/owners/" in file.path for file in each.open_files()):
                return each
    return None


def peak_rss(process: psutil.Process) -> float:
    """MiB that a process has had at most."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (each for each in status.splitlines() if each.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def rate(job: Job) -> float:
    """Rows a second of a job, from its first lease to its manifest."""
    assert job.started is not None
    assert job.finished is not None
    return job.rows / (job.finished - job.started).total_seconds()


def checksums(job: Job) -> dict[str, str]:
    """Of all files of a job."""
    return {
        each.name: hashlib.sha256(each.read_bytes()).hexdigest()
        for each in sorted(Path(job.output).rglob("*"))
        if each.is_file()
    }


def made(
    server: Served, jobs: Jobs, table: str, rows: int, fidelity: Fidelity
) -> tuple[Job, float]:
    """A job, and the memory that the process which made it has taken, MiB."""
    job = jobs.submit(table, rows, fidelity=fidelity, seed=1, fresh=True)
    most = 0.0
    while not jobs.get(job.id).state.is_final:
        with suppress(psutil.Error, OSError, ValueError):
            if (executor := executor_of(server.pid)) is not None:
                most = max(most, peak_rss(executor))
        time.sleep(0.2)
    job = finished(jobs, job)
    print(f"{job.tier}: {rows:,} rows, {rate(job):,.0f} rows/s, {most:.0f} MiB")
    return job, most


def killed(server: Served, jobs: Jobs, whole: Job) -> dict[str, object]:
    """The same job once more; whoever makes it is killed in the midst of it."""
    job = jobs.submit(whole.table, whole.rows, fidelity="fast", seed=whole.seed, fresh=True)
    while jobs.get(job.id).rows_done < whole.rows // 3:
        time.sleep(LOOK_SECONDS)
    executor = executor_of(server.pid)
    assert executor is not None
    executor.send_signal(signal.SIGKILL)
    began, before = time.monotonic(), jobs.get(job.id)
    kept = sum(each.rows for each in jobs.get(job.id, files=True).result_files)
    # What was drawn of a file that was not whole is forgotten when somebody takes it over.
    while not (now := jobs.get(job.id)).state.is_final:
        if now.rows_done != before.rows_done and now.rows_done > kept:
            break
        time.sleep(LOOK_SECONDS)
    resumed = time.monotonic() - began
    return {
        "resume_seconds": round(resumed, 2),
        "identical_after_kill": checksums(finished(jobs, job)) == checksums(whole),
    }


def calls(client: Client, table: str, given: Mapping[str, object], seconds: float) -> list[float]:
    """How long real-time calls took, one after another."""
    took, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        client.synthesize(table, given, fidelity="fast")
        took.append(time.perf_counter() - began)
    return took


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


@contextmanager
def job_beside(jobs: Jobs, table: str, made: list[float]) -> Iterator[None]:
    """A job of the student's that does not end before the block does; rows a second in it."""
    job = jobs.submit(table, 50_000_000, fidelity="fast", fresh=True)
    while not (before := jobs.get(job.id).rows_done):
        time.sleep(0.1)
    began = time.monotonic()
    try:
        yield
        made.append((jobs.get(job.id).rows_done - before) / (time.monotonic() - began))
    finally:
        jobs.cancel(job.id)


def beside(
    server: Served, client: Client, jobs: Jobs, options: argparse.Namespace
) -> dict[str, object]:
    """Real-time calls beside a job, beside processes that count, and alone."""
    column = next(each for each in client.describe(options.table).columns if each.minimum)
    assert column.minimum is not None
    given = {column.name: int(column.minimum) if column.kind == "integer" else column.minimum}
    found, made, number = Rounds(), list[float](), 0
    neighbours: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "alone": nullcontext,
        "job": lambda: job_beside(jobs, options.table, made),
        "one_counter": lambda: counting(1),
        "counters": lambda: counting(os.cpu_count() or 1),
    }
    calls(client, options.table, given, 1.0)
    for _ in range(options.rounds):
        for name, neighbour in neighbours.items():
            while executor_of(server.pid) is not None:
                time.sleep(0.1)
            with neighbour():
                took = calls(client, options.table, given, options.seconds)
            number += len(took)
            p50 = statistics.median(took)
            found.keep(**{f"{name}_p99": 1e3 * p99(took), f"{name}_p50": 1e3 * p50})
    print(f"real-time calls, ms: {found.medians()}")
    return {
        "realtime_p99_ratio": found.ratio("job_p99", "alone_p99"),
        "realtime_p50_ratio": found.ratio("job_p50", "alone_p50"),
        "one_counter_p99_ratio": found.ratio("one_counter_p99", "alone_p99"),
        "counters_p99_ratio": found.ratio("counters_p99", "alone_p99"),
        "realtime_p99_ms": found.median("alone_p99"),
        "beside_p99_ms": found.median("job_p99"),
        "beside_rows_per_s": round(statistics.median(made)),
        "realtime_calls": number,
    }


def main() -> None:
    """Start a server, and have it make rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs", description=__doc__)
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--table", default="adult")
    parser.add_argument("--teacher-rows", type=int, default=20_000)
    parser.add_argument("--student-rows", type=int, default=1_000_000)
    parser.add_argument("--kill-rows", type=int, default=300_000, help="of the job that is killed")
    parser.add_argument("--rounds", type=int, default=5, help="of real-time calls, and of reading")
    parser.add_argument("--ray-rows", type=int, default=16_384, help="of a teacher's job; 0: none")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="cascade-jobs-") as state,
        serving(default_server(options.repository, "--state-dir", state)) as server,
        Client(server.target, timeout=60) as client,
    ):
        jobs = Jobs(client)
        teacher, _ = made(server, jobs, options.table, options.teacher_rows, "full")
        student, rss = made(server, jobs, options.table, options.student_rows, "fast")
        whole, _ = made(server, jobs, options.table, options.kill_rows, "fast")
        figures = {
            "table": options.table,
            "teacher_rows": options.teacher_rows,
            "teacher_rows_per_s": round(rate(teacher)),
            "student_rows": options.student_rows,
            "student_rows_per_s": round(rate(student)),
            "student_bytes_per_row": round(student.bytes / student.rows, 2),
            "peak_rss_mb": round(rss * MIB / 1e6),
            **killed(server, jobs, whole),
            **compared(server.target, student, options.rounds),
            **beside(server, client, jobs, options),
            "cores": os.cpu_count(),
        }
    if options.ray_rows and IS_INSTALLED:
        figures |= speedup(options.repository, options.table, options.ray_rows, rounds=1)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
