"""What traces, metrics and exemplars cost a call: a server with them beside one without.

    python -m benchmarks.telemetry --table credit

Three servers take turns, each started, warmed, asked by h2load and ended: `cascade serve` as it
ships, one that sends a hundredth of its calls' traces to a collector, as it does by default once it
is told of one, and one that sends all of them. The collector is this program, and drops what comes.

Each round gives a ratio to the server without; the medians are printed. The last line is one JSON
object: p50_ratio and p99_ratio of the default share, with every call one at a time, and
throughput_ratio with 16 in flight; the same with `all_` for a server that traces every call.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.h2load import IN_FLIGHT, WARM_CALLS, load, warm
from cascade_loadtest.requests import SYNTHESIZE, late_features
from cascade_loadtest.servers import default_server, serving
from rich.console import Console

from benchmarks.load.rounds import Rounds
from benchmarks.tables import ROOT

console = Console(stderr=True, highlight=False)
SHARES = {"without": None, "default": "1%", "all": "100%"}


class Sink(BaseHTTPRequestHandler):
    """Takes what is sent, and drops it."""

    taken = 0

    def do_POST(self) -> None:
        Sink.taken += len(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def collector() -> Iterator[str]:
    """A collector that listens until the block ends, and its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Sink) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def main() -> None:
    """Start, warm, ask and end each in turn, then print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.telemetry", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--calls", type=int, default=3000)
    options = parser.parse_args()
    rounds, message = Rounds(), b""
    try:
        with collector() as url:
            for _ in range(options.rounds):
                for name, share in SHARES.items():
                    more = ("--otlp-endpoint", url, "--trace-share", share) if share else ()
                    with serving(default_server(options.repository, *more)) as server:
                        if not message:
                            message, _ = late_features(server.target, options.table)
                        warm(server.target, SYNTHESIZE, message, min(options.calls, WARM_CALLS))
                        one = load(server.target, SYNTHESIZE, message, options.calls, 1)
                        many = load(server.target, SYNTHESIZE, message, options.calls, IN_FLIGHT)
                    p50, p99 = one.quantile(0.5), one.quantile(0.99)
                    console.print(
                        f"{name}: p50 {p50:.3f} ms, p99 {p99:.3f} ms, "
                        f"{many.calls_per_s:,.0f} calls/s"
                    )
                    rounds.keep(
                        **{
                            f"{name}_p50_ms": p50,
                            f"{name}_p99_ms": p99,
                            f"{name}_calls_per_s": many.calls_per_s,
                        }
                    )
    except LoadFailed as exc:
        sys.exit(f"error: {exc}")
    print(json.dumps({"table": options.table, **ratios(rounds), **rounds.medians()}))


def ratios(rounds: Rounds) -> dict[str, float]:
    """What tracing makes of each figure, of what it is without."""
    figures = {"p50": "p50_ms", "p99": "p99_ms", "throughput": "calls_per_s"}
    return {
        f"{prefix}{short}_ratio": rounds.ratio(f"{name}_{figure}", f"without_{figure}")
        for prefix, name in (("", "default"), ("all_", "all"))
        for short, figure in figures.items()
    }


if __name__ == "__main__":
    main()
