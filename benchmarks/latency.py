"""`Synthesize` of one row with three features late, beside a bare echo of the same message sizes.

    python -m benchmarks.latency --table credit

Both servers run at once, one process each, and h2load asks them in turn: one call at a time, then
16 in flight. Each round gives one ratio, ours to the echo's; the medians of the rounds are printed.
The last line is one JSON object: p50_ratio, p99_ratio, throughput_ratio and what they are made of.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
from cascade_loadtest.h2load import LoadFailed, Measured, load
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from rich.console import Console

from benchmarks.tables import ROOT

METHOD = "/cascade.v1.Synthesis/Synthesize"
MISSING, IN_FLIGHT = 3, 16
console = Console(stderr=True, highlight=False)


@contextmanager
def process(*command: str) -> Iterator[str]:
    """A server in a process of its own; yields its address."""
    with subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            for line in server.stdout:
                if found := re.search(r"serving on (\S+:\d+)", line):
                    break
            else:
                raise LoadFailed(f"{' '.join(command)} ended without serving")
            yield found[1]
        finally:
            server.terminate()


def cascade(repository: Path, *options: str) -> tuple[str, ...]:
    """The command that serves a repository on a free port; without a pool, unless options say
    otherwise: what is measured is the draw."""
    program = "from cascade_tables.cli import main; main()"
    serve = ("serve", "--port", "0", "--repository", str(repository), "--pool-mib", "0")
    return ("-c", program, *serve, *options)


def request(target: str, table: str) -> tuple[bytes, int]:
    """A row of the table with its first columns missing, those to be returned; and the size of
    its answer."""
    with grpc.insecure_channel(target) as channel:
        stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
        drawn = stub.Synthesize(pb.SynthesizeRequest(table=table, rows=pb.Rows(count=1)))
        asked = pb.SynthesizeRequest(table=table, fidelity=pb.FIDELITY_FAST)
        asked.rows.count = 1
        asked.rows.columns.extend(drawn.rows.columns[MISSING:])
        asked.columns.extend(column.name for column in drawn.rows.columns[:MISSING])
        return asked.SerializeToString(), stub.Synthesize(asked).ByteSize()


def described(name: str, one: Measured, many: Measured) -> str:
    return (
        f"{name}: p50 {one.quantile(0.5):.3f} ms, p99 {one.quantile(0.99):.3f} ms one at a time; "
        f"{many.calls_per_s:,.0f} calls/s at {IN_FLIGHT} in flight"
    )


def main() -> None:
    """Start both, load both, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.latency", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=4000)
    options = parser.parse_args()
    rounds: dict[str, list[float]] = {}
    try:
        with process(*cascade(options.repository)) as ours:
            message, answer_bytes = request(ours, options.table)
            size = ("--answer-bytes", str(answer_bytes))
            with process("-m", "benchmarks.peers.echo", *size) as echo:
                for target in (ours, echo):  # warm both
                    load(target, METHOD, message, 2000, IN_FLIGHT)
                for _ in range(options.rounds):
                    one = [load(t, METHOD, message, options.calls, 1) for t in (ours, echo)]
                    many = [
                        load(t, METHOD, message, options.calls, IN_FLIGHT) for t in (ours, echo)
                    ]
                    for name, a, b in zip(("cascade", "echo"), one, many, strict=True):
                        console.print(described(name, a, b))
                        for key, value in (
                            ("p50_ms", a.quantile(0.5)),
                            ("p99_ms", a.quantile(0.99)),
                            ("calls_per_s", b.calls_per_s),
                        ):
                            rounds.setdefault(f"{name}_{key}", []).append(value)
    except LoadFailed as exc:
        sys.exit(f"error: {exc}")
    medians = {key: round(float(np.median(values)), 3) for key, values in rounds.items()}

    def ratio(key: str) -> float:
        pairs = zip(rounds[f"cascade_{key}"], rounds[f"echo_{key}"], strict=True)
        return round(float(np.median([a / b for a, b in pairs])), 3)

    result = {
        "table": options.table,
        "p50_ratio": ratio("p50_ms"),
        "p99_ratio": ratio("p99_ms"),
        "throughput_ratio": ratio("calls_per_s"),
        "request_bytes": len(message),
        "answer_bytes": answer_bytes,
        **medians,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
