"""What TLS costs a call: the default server with and without, and bare echoes, ours and grpcio's.

    python -m benchmarks.tls --table credit

Six servers take turns, each started, warmed, asked by h2load one call at a time and then 16 in
flight, and ended: `cascade serve`, this transport with a bare echo behind it, and grpcio's server
with the same, each in the clear and over TLS 1.3. `*_more_us` is what a call at 16 in flight takes
the server's processes more of a processor over TLS, in microseconds; ratios are of TLS to the
clear. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import psutil
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.h2load import IN_FLIGHT, WARM_CALLS, load, warm
from cascade_loadtest.requests import SYNTHESIZE, late_features
from cascade_loadtest.servers import DEFAULT, Served, default_server, serving
from rich.console import Console

from benchmarks.load.rounds import Rounds
from benchmarks.peers import certificates, echo
from benchmarks.tables import ROOT

console = Console(stderr=True, highlight=False)
NAMES = ("cascade", "echo", "grpcio")


def busy(server: Served) -> float:
    """Processor seconds of a server's processes that answer; its teacher is idle work's."""
    first = psutil.Process(server.pid)
    answering = [first, *(each for each in first.children() if each.nice() <= first.nice())]
    return sum(sum(each.cpu_times()[:2]) for each in answering)


def asked(name: str, server: Served, message: bytes, calls: int, tls: bool) -> dict[str, float]:
    """One turn of a server that is warm."""
    one = load(server.target, SYNTHESIZE, message, calls, 1, tls=tls)
    before = busy(server)
    many = load(server.target, SYNTHESIZE, message, calls, IN_FLIGHT, tls=tls)
    micros = (busy(server) - before) / calls * 1e6
    console.print(
        f"{name}: p50 {one.quantile(0.5):.3f} ms, p99 {one.quantile(0.99):.3f} ms one at a time; "
        f"{many.calls_per_s:,.0f} calls/s and {micros:.0f} µs a call at {IN_FLIGHT} in flight"
    )
    return {
        f"{name}_p50_ms": one.quantile(0.5),
        f"{name}_p99_ms": one.quantile(0.99),
        f"{name}_calls_per_s": many.calls_per_s,
        f"{name}_us": micros,
    }


def main() -> None:
    """Start, warm, ask and end each in turn, then print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tls", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=4000)
    options = parser.parse_args()
    rounds, warm_calls = Rounds(), min(options.calls, WARM_CALLS)
    try:
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = map(str, certificates.make(Path(folder)))
            with serving(default_server(options.repository)) as ours:
                message, answer_bytes = late_features(ours.target, options.table)
            peer = echo.command(answer_bytes)
            of_peer = ("--certificate", certificate, "--key", key)
            of_ours = ("--tls-certificate", certificate, "--tls-key", key)
            commands = {
                "cascade": default_server(options.repository),
                "cascade_tls": default_server(options.repository, *of_ours),
                "echo": (*peer, "--own"),
                "echo_tls": (*peer, "--own", *of_peer),
                "grpcio": peer,
                "grpcio_tls": (*peer, *of_peer),
            }
            for _ in range(options.rounds):
                for name, command in commands.items():
                    tls = name.endswith("_tls")
                    with serving(command) as server:
                        warm(server.target, SYNTHESIZE, message, warm_calls, tls)
                        rounds.keep(**asked(name, server, message, options.calls, tls))
    except LoadFailed as exc:
        sys.exit(f"error: {exc}")
    result: dict[str, object] = {
        "table": options.table,
        "server": DEFAULT,
        "request_bytes": len(message),
        "answer_bytes": answer_bytes,
    }
    for name in NAMES:
        result[f"{name}_more_us"] = round(
            rounds.median(f"{name}_tls_us") - rounds.median(f"{name}_us"), 1
        )
        for figure in ("p50_ms", "p99_ms", "calls_per_s"):
            ratio = rounds.ratio(f"{name}_tls_{figure}", f"{name}_{figure}")
            result[f"{name}_{figure.removesuffix('_ms')}_ratio"] = ratio
    print(json.dumps({**result, **rounds.medians()}))


if __name__ == "__main__":
    main()
