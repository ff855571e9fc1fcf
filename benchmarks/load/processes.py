"""What processes of their own are worth: to real-time calls beside a flood, and to calls a second.

    python -m benchmarks.processes --table credit

Three servers take turns, each started, warmed, asked and ended: one whose teacher is in the process
that answers; the default server, whose one worker has the teacher beside it; and the same with two
workers. An offline flood of `Generate` runs beside the first two, which are asked one call at a
time; then the last two are asked without a flood, 16 in flight. The last line is one JSON object:
p50_ratio and p99_ratio (teacher in its own process over teacher in this one, beside the flood),
throughput_ratio (two workers over one), and their medians.
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
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.h2load import IN_FLIGHT, WARM_CALLS, load, warm
from cascade_loadtest.requests import SYNTHESIZE, late_features
from cascade_loadtest.servers import DEFAULT, default_server, serving
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from rich.console import Console

from benchmarks.load.rounds import Rounds
from benchmarks.tables import ROOT

CONNECTIONS = 4
# As the default server without processes of its own would be.
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


def beside_flood(target: str, table: str, message: bytes, calls: int) -> dict[str, float]:
    """One call at a time while offline rows are made."""
    made = [0]
    with flood(target, table, made):
        found = load(target, SYNTHESIZE, message, calls, 1)
    return {
        "p50_ms": found.quantile(0.5),
        "p99_ms": found.quantile(0.99),
        "flood_rows_per_s": made[0] * found.calls_per_s / calls,
    }


def main() -> None:
    """Start, warm, ask and end each in turn, then print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.processes", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=2000)
    options = parser.parse_args()
    rounds = Rounds()
    one = default_server(options.repository)
    alone = (sys.executable, "-c", ALONE, str(options.repository))
    # What starts a server, and what it is called beside a flood and without one.
    turns = (
        (alone, "in_process", None),
        (one, "own_process", "one_worker"),
        ((*one, "--workers", "2"), None, "two_workers"),
    )
    message = b""
    try:
        for _ in range(options.rounds):
            for command, flooded, busy in turns:
                with serving(command) as server:
                    target = server.target
                    if not message:
                        message, _ = late_features(target, options.table)
                    warm(target, SYNTHESIZE, message, min(options.calls, WARM_CALLS))
                    if flooded:
                        found = beside_flood(target, options.table, message, options.calls)
                        rounds.keep(**{f"{flooded}_{key}": value for key, value in found.items()})
                    if busy:
                        many = load(
                            target, SYNTHESIZE, message, options.calls, IN_FLIGHT, CONNECTIONS
                        )
                        rounds.keep(**{f"{busy}_calls_per_s": many.calls_per_s})
            console.print(rounds.medians())
    except LoadFailed as exc:
        sys.exit(f"error: {exc}")
    result = {
        "table": options.table,
        "server": DEFAULT,
        "p50_ratio": rounds.ratio("own_process_p50_ms", "in_process_p50_ms"),
        "p99_ratio": rounds.ratio("own_process_p99_ms", "in_process_p99_ms"),
        "throughput_ratio": rounds.ratio("two_workers_calls_per_s", "one_worker_calls_per_s"),
        **rounds.medians(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
