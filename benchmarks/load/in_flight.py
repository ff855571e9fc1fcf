"""Calls that are in a server at once, on average, as its load grows: what an autoscaler goes by.

    python -m benchmarks.in_flight --table credit

The server is the default one, with a port for its metrics. Capacity is measured first (h2load, 16
in flight, the student). Then an open-loop client offers shares of it at Poisson times, once for the
student and once with the tier left to the server, each call with a deadline of 100 ms. In flight is
the growth of `cascade_request_duration_seconds_sum` over the time it took, as
deploy/kubernetes/monitoring/prometheus-adapter.yaml has it. The last line is one JSON object:
capacity_per_s, and for "fast" and "auto" one entry a load.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.h2load import IN_FLIGHT, WARM_CALLS, load
from cascade_loadtest.open_loop import End, offer, poisson
from cascade_loadtest.requests import SYNTHESIZE, late_features
from cascade_loadtest.servers import DEFAULT, default_server, serving
from cascade_proto import synthesis_pb2 as pb
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from benchmarks.tables import ROOT

LOADS = (0.25, 0.5, 0.75, 1.0)
CONNECTIONS = 4
DURATION = "cascade_request_duration_seconds_sum"
console = Console(stderr=True, highlight=False)


def free_port() -> int:
    """One that nobody listens on now."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def seconds_of_calls(port: int) -> float:
    """Time that the server has taken for all real-time calls together."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == DURATION and sample.labels["class"] != "offline"
    )


async def measure(
    target: str, metrics: int, message: bytes, per_s: float, seconds: float
) -> dict[str, float]:
    """Offer so many calls a second."""
    before, began = seconds_of_calls(metrics), time.monotonic()
    found = await offer(target, SYNTHESIZE, message, poisson(per_s, seconds), 0.1, CONNECTIONS)
    took = found.in_time(0.1)
    inside = (seconds_of_calls(metrics) - before) / (time.monotonic() - began)
    return {
        "offered_per_s": round(per_s, 1),
        "in_flight": round(inside, 2),
        "p99_ms": round(1e3 * float(np.quantile(took, 0.99)) if len(took) else np.nan, 2),
        "refused": round(found.share(End.REFUSED, End.REFUSED_HERE), 4),
    }


def main() -> None:
    """Measure capacity, then every load, then print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.in_flight", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--calls", type=int, default=6000, help="that show the capacity")
    options = parser.parse_args()
    calls: int = options.calls
    figures: dict[str, Any] = {"table": options.table, "server": DEFAULT}
    try:
        # A server each: what one load cost the error budget would decide the tiers of the next.
        for kind in ("fast", "auto"):
            metrics = free_port()
            command = default_server(options.repository, "--metrics-port", str(metrics))
            with serving(command) as server:
                target = server.target
                fast, _ = late_features(target, options.table)
                if kind == "fast":
                    load(target, SYNTHESIZE, fast, min(calls, WARM_CALLS), IN_FLIGHT)
                    capacity = float(load(target, SYNTHESIZE, fast, calls, IN_FLIGHT).calls_per_s)
                    figures["capacity_per_s"] = round(capacity, 1)
                asked = pb.SynthesizeRequest.FromString(fast)
                asked.fidelity = pb.FIDELITY_AUTO
                message = fast if kind == "fast" else asked.SerializeToString()
                figures[kind] = []
                for share in LOADS:
                    per_s = share * capacity
                    found = uvloop.run(measure(target, metrics, message, per_s, options.seconds))
                    figures[kind].append({"load": share, **found})
                    console.print(f"{kind} {figures[kind][-1]}")
    except LoadFailed as exc:
        sys.exit(f"error: {exc}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
