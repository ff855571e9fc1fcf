"""A job's results read over Arrow Flight, beside pyarrow's own Flight server on the same files.

The client is pyarrow's, in a process of its own, which reads the two by turns: the whole job, an
endpoint after the other. Figures are of the decoded batches.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cascade_client import Client
from cascade_client.job_control import Jobs
from cascade_client.values.jobs import Job
from cascade_loadtest.servers import default_server, serving

from benchmarks.load.rounds import Rounds

ROOT = Path(__file__).parents[2]
NAMES = ("flight", "pyarrow_flight")


@contextmanager
def peer(folder: str) -> Iterator[str]:
    """pyarrow's server on a folder of files; where it listens."""
    command = [sys.executable, "-m", "benchmarks.peers.flight_server", folder]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
        assert process.stdin is not None
        process.stdin.close()


def compared(target: str, job: Job, rounds: int) -> dict[str, object]:
    """MB a second of both, and their ratio."""
    reader = [sys.executable, "-m", "benchmarks.peers.flight_reader", str(rounds), job.id]
    with peer(f"{job.output}/data") as other:
        said = subprocess.run(
            [*reader, target, other], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
    found, figures = Rounds(), [json.loads(line) for line in said.splitlines()]
    for ours, others in zip(figures[::2], figures[1::2], strict=True):
        assert ours["rows"] == others["rows"] == job.rows
        rates = [each["bytes"] / each["seconds"] / 1e6 for each in (ours, others)]
        found.keep(**{f"{name}_mb_per_s": rate for name, rate in zip(NAMES, rates, strict=True)})
    ratio = found.ratio("flight_mb_per_s", "pyarrow_flight_mb_per_s")
    print(f"Flight: {found.medians()}, ratio {ratio}")
    return {**found.medians(), "flight_ratio": ratio}


def main() -> None:
    """Start a server, have it make rows, and read them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flight", description=__doc__)
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--table", default="adult")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="cascade-flight-") as state,
        serving(default_server(options.repository, "--state-dir", state)) as server,
        Client(server.target, timeout=60) as client,
    ):
        jobs = Jobs(client)
        job = jobs.wait(jobs.submit(options.table, options.rows, fidelity="fast", seed=1).id)
        figures = compared(server.target, job, options.rounds)
        told = {"table": options.table, "rows": options.rows, **figures, "cores": os.cpu_count()}
        print(json.dumps(told))


if __name__ == "__main__":
    main()
