"""`Synthesize` of one row with three features late, beside a bare echo of the same message sizes.

    python -m benchmarks.latency --table credit

Ours is the default server, `cascade serve` with no options: one worker, pool and cache on. The two
take turns, and the other is not merely idle meanwhile but gone: a server is started, warmed, asked
by h2load one call at a time and then 16 in flight, and ended. Warming is the same for both, some
thousand calls like those that follow, and nothing is waited for after it: so our teacher makes rows
for the pool beside the calls, as it does under a user's. h2load sends one row again and again;
pooled_share says how many of the calls one at a time were answered from the pool.

Each round gives one ratio, ours to the echo's; the medians of the rounds are printed. The last line
is one JSON object: p50_ratio, p99_ratio, throughput_ratio and what they are made of.
"""

from __future__ import annotations

import argparse
import json
import sys
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
from benchmarks.peers import echo
from benchmarks.tables import ROOT

console = Console(stderr=True, highlight=False)


def pooled(target: str) -> int:
    """Requests that the pool has answered so far."""
    with grpc.insecure_channel(target) as channel:
        stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
        pool = stub.GetStatistics(pb.GetStatisticsRequest()).pool
    return sum(release.hits for release in pool.releases)


def asked(name: str, target: str, message: bytes, calls: int) -> dict[str, float]:
    """One turn of a server that is warm: one call at a time, then 16 in flight."""
    before = pooled(target) if name == "cascade" else 0
    one = load(target, SYNTHESIZE, message, calls, 1)
    after = pooled(target) if name == "cascade" else 0
    many = load(target, SYNTHESIZE, message, calls, IN_FLIGHT)
    console.print(
        f"{name}: p50 {one.quantile(0.5):.3f} ms, p99 {one.quantile(0.99):.3f} ms one at a time; "
        f"{many.calls_per_s:,.0f} calls/s at {IN_FLIGHT} in flight"
    )
    figures = {
        f"{name}_p50_ms": one.quantile(0.5),
        f"{name}_p99_ms": one.quantile(0.99),
        f"{name}_calls_per_s": many.calls_per_s,
    }
    return figures | ({"pooled_share": (after - before) / calls} if name == "cascade" else {})


def main() -> None:
    """Start, warm, ask and end each in turn, then print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.latency", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--calls", type=int, default=4000)
    options = parser.parse_args()
    rounds, message, answer_bytes = Rounds(), b"", 0
    warm_calls = min(options.calls, WARM_CALLS)
    try:
        for _ in range(options.rounds):
            with serving(default_server(options.repository)) as ours:
                if not message:
                    message, answer_bytes = late_features(ours.target, options.table)
                warm(ours.target, SYNTHESIZE, message, warm_calls)
                rounds.keep(**asked("cascade", ours.target, message, options.calls))
            with serving(echo.command(answer_bytes)) as peer:
                warm(peer.target, SYNTHESIZE, message, warm_calls)
                rounds.keep(**asked("echo", peer.target, message, options.calls))
    except LoadFailed as exc:
        sys.exit(f"error: {exc}")
    result = {
        "table": options.table,
        "server": DEFAULT,
        "p50_ratio": rounds.ratio("cascade_p50_ms", "echo_p50_ms"),
        "p99_ratio": rounds.ratio("cascade_p99_ms", "echo_p99_ms"),
        "throughput_ratio": rounds.ratio("cascade_calls_per_s", "echo_calls_per_s"),
        "request_bytes": len(message),
        "answer_bytes": answer_bytes,
        **rounds.medians(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
