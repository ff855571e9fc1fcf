"""What processes of their own are worth: to real-time calls beside a flood, and to calls a second.

    python -m benchmarks.processes --table credit

Three servers run at once: one whose teacher is in the process that answers, `cascade serve` with
one worker, and with two. An offline flood of `Generate` runs beside the one that is measured, which
is asked one call at a time; then, without a flood, 16 in flight. They take turns, round by round.
The last line is one JSON object: p50_ratio and p99_ratio (teacher in its own process over teacher
in this one, beside the flood), throughput_ratio (two workers over one), and their medians.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
from cascade_loadtest.h2load import LoadFailed, load
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from rich.console import Console

from benchmarks.latency import METHOD, cascade, process, request
from benchmarks.tables import ROOT

IN_FLIGHT, CONNECTIONS = 16, 4
# As `cascade serve` without processes of its own would be.
ALONE = """
import asyncio, sys, uvloop
from pathlib import Path
from cascade_server.config import ServerConfig
from cascade_server.server import Server

async def life():
    server = Server(ServerConfig(repository=Path(sys.argv[1]), port=0))
    await server.startup()
    print(f"serving on 127.0.0.1:{server.port}", flush=True)
    await server.main_loop()

uvloop.run(life())
"""
console = Console(stderr=True, highlight=False)


@contextmanager
def flood(target: str, table: str, made: list[int]) -> Iterator[None]:
    """Offline rows without end beside what is measured, from a thread of its own."""
    began, over = threading.Event(), threading.Event()
    with grpc.insecure_channel(target, [("grpc.max_receive_message_length", -1)]) as channel:
        stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
        rows = stub.Generate(pb.GenerateRequest(table=table, count=10_000_000))

        def read() -> None:
            try:
                for part in rows:
                    made[0] += part.rows.count
                    began.set()
            except grpc.RpcError:
                began.set()
                assert over.is_set()

        thread = threading.Thread(target=read)
        thread.start()
        began.wait()
        try:
            yield
        finally:
            over.set()
            rows.cancel()
            thread.join()


def main() -> None:
    """Start all, ask them in turn, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.processes", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=2000)
    options = parser.parse_args()
    rounds: dict[str, list[float]] = {}
    serve = (*cascade(options.repository), "--pool-mib", "0")
    try:
        with (
            process("-c", ALONE, str(options.repository)) as alone,
            process(*serve) as one,
            process(*serve, "--workers", "2") as two,
        ):
            message, _ = request(one, options.table)
            for target in (alone, one, two):
                load(target, METHOD, message, 2000, IN_FLIGHT)
            for _ in range(options.rounds):
                for name, target in (("in_process", alone), ("own_process", one)):
                    made = [0]
                    with flood(target, options.table, made):
                        found = load(target, METHOD, message, options.calls, 1)
                    rounds.setdefault(f"{name}_p50_ms", []).append(found.quantile(0.5))
                    rounds.setdefault(f"{name}_p99_ms", []).append(found.quantile(0.99))
                    seconds = options.calls / found.calls_per_s
                    rounds.setdefault(f"{name}_flood_rows_per_s", []).append(made[0] / seconds)
                for name, target in (("one_worker", one), ("two_workers", two)):
                    found = load(target, METHOD, message, options.calls, IN_FLIGHT, CONNECTIONS)
                    rounds.setdefault(f"{name}_calls_per_s", []).append(found.calls_per_s)
                console.print({key: round(values[-1], 3) for key, values in rounds.items()})
    except LoadFailed as exc:
        sys.exit(f"error: {exc}")

    def ratio(over: str, under: str) -> float:
        pairs = zip(rounds[over], rounds[under], strict=True)
        return round(float(np.median([a / b for a, b in pairs])), 3)

    result = {
        "table": options.table,
        "p50_ratio": ratio("own_process_p50_ms", "in_process_p50_ms"),
        "p99_ratio": ratio("own_process_p99_ms", "in_process_p99_ms"),
        "throughput_ratio": ratio("two_workers_calls_per_s", "one_worker_calls_per_s"),
        **{key: round(float(np.median(values)), 3) for key, values in rounds.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
