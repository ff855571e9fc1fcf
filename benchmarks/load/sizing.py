"""What a call takes on this machine, by what it asks for: the curves that `cascade size` goes by.

    python -m benchmarks.sizing --curves curves.json
    cascade size --rate 500 --curves curves.json

For each table a server with that table alone, one worker and no pool is asked by h2load for late
features and for whole rows, with one draw and with many: its own processor time of a call, as
`cascade cost` has it, with many in flight; latencies with one in flight. Then calls come by chance,
at some shares of what one worker does: how late they are beside those that are alone. And two
workers are asked as one was. The last line is one JSON object, which is the file's content.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import numpy as np
from cascade_client import Client
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.h2load import load
from cascade_loadtest.open_loop import offer, poisson
from cascade_loadtest.requests import SYNTHESIZE
from cascade_loadtest.servers import default_server, serving
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from rich.console import Console

from benchmarks.made_up import only
from benchmarks.tables import ROOT

MIB = 2**20
# Seconds after which an answer is counted that its caller has.
COUNTED = 0.1
# Runs of each latency, whose median is taken: a shared machine stands still now and then.
PARTS = 3
# Late columns, 0: all of them; and draws.
KINDS = ((3, 1), (3, 8), (3, 32), (0, 1))
SHARES = (0.2, 0.4, 0.6, 0.75)
console = Console(stderr=True, highlight=False)


def request(target: str, table: str, late: int, draws: int) -> tuple[bytes, int]:
    """A request for the first columns of a row, or for all of them; and the table's columns."""
    with grpc.insecure_channel(target) as channel:
        stub = SynthesisStub(channel)
        row = stub.Synthesize(pb.SynthesizeRequest(table=table, rows=pb.Rows(count=1))).rows
        late = late or len(row.columns)
        asked = pb.SynthesizeRequest(table=table, fidelity=pb.FIDELITY_FAST, draws=draws)
        asked.rows.count = 1
        asked.rows.columns.extend(row.columns[late:])
        asked.columns.extend(column.name for column in row.columns[:late])
        # What load does not tell from an answer is seen here.
        stub.Synthesize(asked)
        return asked.SerializeToString(), len(row.columns)


def used(client: Client) -> tuple[float, int]:
    """Processor seconds of the student's answers, and how many there were."""
    time.sleep(COUNTED)
    found = [each for each in client.usage().compute if each.tier == "student"]
    return sum(each.seconds for each in found), sum(each.answers for each in found)


def point(client: Client, target: str, table: str, late: int, draws: int, calls: int) -> Any:
    """What one kind of call takes."""
    message, columns = request(target, table, late, draws)
    load(target, SYNTHESIZE, message, max(50, calls // 10), 1)
    before = used(client)
    load(target, SYNTHESIZE, message, calls, 16, 4)
    after = used(client)
    alone = [load(target, SYNTHESIZE, message, max(100, calls // 8), 1) for _ in range(PARTS)]
    found = {
        "table": table,
        "columns": columns,
        "late": late or columns,
        "rows": 1,
        "draws": draws,
        "core_ms": round(1e3 * (after[0] - before[0]) / max(1, after[1] - before[1]), 4),
        "p50_ms": round(median(each.quantile(0.5) for each in alone), 4),
        "p99_ms": round(median(each.quantile(0.99) for each in alone), 4),
    }
    console.print(found)
    return found, message


def busy(target: str, message: bytes, measured: Any, seconds: float) -> list[dict[str, float]]:
    """How late calls are that come by chance, by how busy the worker is."""
    out = []
    for share in SHARES:
        rate = share / (measured["core_ms"] / 1e3)
        found, lags = [], []
        for part in range(PARTS):
            due = poisson(rate, seconds / PARTS, seed=round(100 * share) + part)
            run = asyncio.run(offer(target, SYNTHESIZE, message, due, 1.0))
            found.append(1e3 * float(np.quantile(run.in_time(1.0), 0.99)))
            lags.append(1e3 * run.lag)
        late = median(found)
        out.append(
            {"utilisation": share, "p99_ratio": round(max(1.0, late / measured["p99_ms"]), 3)}
        )
        console.print(out[-1], f"p99 {late:.2f} ms at {rate:.0f}/s, generator late {max(lags):.2f}")
    return out


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sizing", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--curves", type=Path, help="write them to this file")
    parser.add_argument("--tables", default="credit,adult,made_up_96")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--calls", type=int, default=2000, help="of each kind")
    parser.add_argument("--seconds", type=float, default=6.0, help="of calls that come by chance")
    options = parser.parse_args()
    points: list[Any] = []
    shares: list[dict[str, float]] = []
    memory: dict[str, float] = {}
    scaling = {1: 1.0}
    first, *_ = tables = options.tables.split(",")
    with tempfile.TemporaryDirectory(prefix="cascade-sizing-") as folder:
        for table in tables:
            try:
                alone = only(options.repository, table, Path(folder))
            except KeyError:
                sys.exit(f"error: {options.repository} has no release of {table!r}")
            command = (*default_server(alone), "--pool-mib", "0", "--workers", "1")
            try:
                with serving(command) as served, Client(served.target, timeout=60) as client:
                    client.wait_ready(60)
                    for late, draws in KINDS:
                        calls = options.calls // (1 if draws == 1 and late else 4)
                        found, message = point(client, served.target, table, late, draws, calls)
                        points.append(found)
                        if table == first and (late, draws) == KINDS[0]:
                            shares = busy(served.target, message, found, options.seconds)
                            usage = client.usage()
                            memory = {
                                f"{role}_mib": usage.process(role).peak_memory_bytes / MIB
                                for role in ("worker", "teacher")
                            }
                if table == first:
                    scaling[2] = of_two(alone, table, options.calls, points[0]["core_ms"])
            except LoadFailed as exc:
                sys.exit(f"error: {exc}")
    curves = {
        "format": 1,
        "machine": f"{os.cpu_count()} cores of {cpu()}, {time.strftime('%Y-%m-%d')}",
        "points": points,
        "busy": shares,
        **{key: round(value, 1) for key, value in memory.items()},
        "scaling": scaling,
    }
    if options.curves is not None:
        options.curves.write_text(json.dumps(curves, indent=1) + "\n")
    print(json.dumps(curves))


def of_two(repository: Path, table: str, calls: int, alone_ms: float) -> float:
    """What is left of a worker's pace beside another one: by the processor time of a call, which
    does not depend on how many cores are left for who asks."""
    command = (*default_server(repository), "--pool-mib", "0", "--workers", "2")
    with serving(command) as served, Client(served.target, timeout=60) as client:
        client.wait_ready(60)
        found, _ = point(client, served.target, table, *KINDS[0], calls)
    return round(min(1.0, alone_ms / max(found["core_ms"], 1e-6)), 3)


def cpu() -> str:
    """What the processor calls itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
