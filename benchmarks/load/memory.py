"""Whether a server's memory stays where it is.

    python -m benchmarks.memory --table credit --calls 200000

The default server, pool and cache on, is asked by h2load, 16 calls in flight: in turns
without a seed, with one, and with the tier left to the server. The last line is one JSON object:
rss_growth_ratio (resident memory of all its processes at the end over that after the warm-up, less
1), both in MiB, and the size after each tenth.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import psutil
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.h2load import IN_FLIGHT, load
from cascade_loadtest.requests import SYNTHESIZE, late_features
from cascade_loadtest.servers import default_server, serving
from cascade_proto import synthesis_pb2 as pb

from benchmarks.tables import ROOT

WARM_SHARE, ROUNDS = 0.25, 10
MIB = 2**20


def resident() -> int:
    """Bytes of this process's descendants, the server's processes."""
    return sum(each.memory_info().rss for each in psutil.Process().children(recursive=True))


def messages(fast: bytes) -> list[bytes]:
    """The kinds of requests, in turns."""
    seeded, auto = pb.SynthesizeRequest.FromString(fast), pb.SynthesizeRequest.FromString(fast)
    seeded.seed = 7
    auto.fidelity = pb.FIDELITY_AUTO
    auto.timeout_microseconds = 50_000
    return [fast, seeded.SerializeToString(), auto.SerializeToString()]


def main() -> None:
    """Serve, load in turns, and print by how much the server has grown."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--calls", type=int, default=200_000)
    options = parser.parse_args()
    sizes = []
    try:
        with serving(default_server(options.repository)) as server:
            target = server.target
            fast, _ = late_features(target, options.table)
            kinds = messages(fast)

            def ask(calls: int) -> None:
                for message in kinds:
                    load(target, SYNTHESIZE, message, calls // len(kinds), IN_FLIGHT)

            ask(int(WARM_SHARE * options.calls))
            before = resident()
            for _ in range(ROUNDS):
                ask(options.calls // ROUNDS)
                sizes.append(round(resident() / MIB, 1))
            after = resident()
    except LoadFailed as exc:
        sys.exit(f"error: {exc}")
    print(
        json.dumps(
            {
                "table": options.table,
                "calls": options.calls,
                "rss_growth_ratio": round(after / before - 1, 4),
                "rss_mib_before": round(before / MIB, 1),
                "rss_mib_after": round(after / MIB, 1),
                "rss_mib": sizes,
            }
        )
    )


if __name__ == "__main__":
    main()
