"""The same student in our server and in a real Triton, each with the whole machine.

    python -m benchmarks.triton --table credit

Triton runs the bare student: tokens in, tokens out, once a batch in its Python backend; whoever
calls it has to encode and decode. Ours does the whole job: values in, values out, checked, with
provenance, objectives counted. The two servers are asked in turn by h2load, one row with three
features late a call: one at a time (ours with one worker), 16 in flight (ours with two), and 16 in
flight with 16 rows a call. Over `SynthesizeStream`, 16 in flight on four streams, ours is asked by
`cascade_loadtest.stream_loop`. Keys with `open_inference` compare like with like: ours is asked for
the bare student too, by Triton's own protocol and with the same tensors.

    python -m benchmarks.triton --inside

asks a table's own models in one Triton beside the bare student: see `benchmarks.triton_inside`;
inside_throughput_ratio is calls/s of the cascade to the bare student's.

The last line is one JSON object; ratios are ours to Triton's, medians over the rounds: p50_ratio_1,
p99_ratio_1, p99_ratio_16, throughput_ratio_16, stream_throughput_ratio_16, rows_ratio_16.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from cascade_loadtest import stream_loop
from cascade_loadtest.h2load import LoadFailed, Measured, load
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from cascade_tables import list_releases, load_release
from rich.console import Console

from benchmarks import triton_inside
from benchmarks.latency import IN_FLIGHT, METHOD, MISSING, cascade, process, request
from benchmarks.peers import triton_messages, triton_student
from benchmarks.peers.environments import NotInstalled
from benchmarks.peers.triton_server import TritonFailed, triton
from benchmarks.tables import ROOT

ROWS, CONNECTIONS, STREAMS = 16, 8, 4
console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Peer:
    """Who is asked, and what."""

    name: str
    target: str
    method: str
    message: bytes

    def load(self, calls: int, in_flight: int) -> Measured:
        # Several connections, or all calls would be with one worker.
        connections = min(in_flight, CONNECTIONS)
        return load(self.target, self.method, self.message, calls, in_flight, connections)


@dataclass(frozen=True)
class StreamPeer:
    """The same over standing streams."""

    name: str
    target: str
    message: bytes

    def load(self, calls: int, in_flight: int) -> Measured:
        return stream_loop.load(self.target, self.message, calls, in_flight, STREAMS)


def repeated(target: str, message: bytes) -> bytes:
    """A request for as many rows as `ROWS`, all like the one."""
    one = pb.SynthesizeRequest.FromString(message)
    many = pb.SynthesizeRequest.FromString(message)
    many.rows.count = ROWS
    for column, single in zip(many.rows.columns, one.rows.columns, strict=True):
        which = single.WhichOneof("values")
        getattr(column, which).values.extend(list(getattr(single, which).values) * (ROWS - 1))
        column.states = single.states * ROWS
    with grpc.insecure_channel(target) as channel:
        stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
        assert stub.Synthesize(many).rows.count == ROWS
    return many.SerializeToString()


def compared(ours: Peer | StreamPeer, triton: Peer, calls: int, in_flight: int) -> dict[str, float]:
    """One round; ours to Triton's."""
    a, b = ours.load(calls, in_flight), triton.load(calls, in_flight)
    for peer, found in ((ours, a), (triton, b)):
        console.print(
            f"{peer.name}, {in_flight} in flight: p50 {found.quantile(0.5):.3f} ms, "
            f"p99 {found.quantile(0.99):.3f} ms, {found.calls_per_s:,.0f} calls/s"
        )
    return {
        "p50": a.quantile(0.5) / b.quantile(0.5),
        "p99": a.quantile(0.99) / b.quantile(0.99),
        "throughput": a.calls_per_s / b.calls_per_s,
        "calls_per_s": a.calls_per_s,
        "triton_calls_per_s": b.calls_per_s,
        "p50_ms": a.quantile(0.5),
        "triton_p50_ms": b.quantile(0.5),
        "p99_ms": a.quantile(0.99),
        "triton_p99_ms": b.quantile(0.99),
    }


def measured(options: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Every round of each of the loads."""
    version = list_releases(options.repository)[options.table][-1]
    release = load_release(options.repository, options.table, version)
    layout = release.codec.layout
    slots = len(layout.sizes)
    observed = (np.array(layout.column) >= MISSING)[None]
    with ExitStack() as stack:
        one = stack.enter_context(process(*cascade(options.repository)))
        two = stack.enter_context(process(*cascade(options.repository), "--workers", "2"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="models-")))
        triton_student.write_student(folder, release, options.instances)
        other = stack.enter_context(triton(folder)).target
        message, _ = request(one, options.table)
        batch = repeated(one, message)
        known, name = np.zeros((1, slots), np.int32), triton_student.NAME
        tokens = triton_messages.student_request(name, known, observed)
        many_tokens = triton_messages.student_request(
            name, known.repeat(ROWS, axis=0), observed.repeat(ROWS, axis=0)
        )
        same = triton_messages.student_request(f"{options.table}_student", known, observed)
        method = triton_messages.MODEL_INFER
        theirs = Peer("triton", other, method, tokens)
        pairs: dict[str, tuple[Peer | StreamPeer, Peer, int]] = {
            "one": (Peer("cascade", one, METHOD, message), theirs, 1),
            "many": (Peer("cascade, 2 workers", two, METHOD, message), theirs, IN_FLIGHT),
            "stream": (StreamPeer("cascade, 2 workers, streams", two, message), theirs, IN_FLIGHT),
            "rows": (
                Peer("cascade, 2 workers, 16 rows", two, METHOD, batch),
                Peer("triton, 16 rows", other, method, many_tokens),
                IN_FLIGHT,
            ),
            "same_one": (Peer("cascade, bare student", one, method, same), theirs, 1),
            "same_many": (
                Peer("cascade, 2 workers, bare student", two, method, same),
                theirs,
                IN_FLIGHT,
            ),
        }
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in pairs}
        for ours, other, in_flight in pairs.values():
            for peer in (ours, other):
                peer.load(1000, in_flight)
        # Round by round, so that a change of the machine's speed is in all of them.
        for _ in range(options.rounds):
            for name, (ours, other, in_flight) in pairs.items():
                rounds[name].append(compared(ours, other, options.calls, in_flight))
    return rounds


def main() -> None:
    """Start both, load both, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.triton", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--instances", type=int, default=1, help="of the model in Triton")
    parser.add_argument("--inside", action="store_true", help="the cascade inside Triton")
    parser.add_argument(
        "--student",
        choices=("here", "called"),
        help="with --inside: who runs the student for the cascade; as configured by default",
    )
    parser.add_argument(
        "--priorities",
        action="store_true",
        help="with --inside: Triton queues the cascade's requests by priority",
    )
    parser.add_argument("--rounds", type=int, help="5; with --inside 60, which are shorter")
    parser.add_argument("--calls", type=int, help="4000; with --inside 1500")
    options = parser.parse_args()
    # Inside one Triton rounds may be short: a change of the machine's speed is then in all models
    # of a round.
    rounds, calls = (60, 1500) if options.inside else (5, 4000)
    options.rounds, options.calls = options.rounds or rounds, options.calls or calls
    try:
        if options.inside:
            print(json.dumps(triton_inside.measured(options)))
            return
        rounds = measured(options)
    except (LoadFailed, NotInstalled, TritonFailed) as exc:
        sys.exit(f"error: {exc}")

    def median(name: str, key: str) -> float:
        return round(float(np.median([each[key] for each in rounds[name]])), 3)

    print(
        json.dumps(
            {
                "table": options.table,
                "p50_ratio_1": median("one", "p50"),
                "p99_ratio_1": median("one", "p99"),
                "p99_ratio_16": median("many", "p99"),
                "throughput_ratio_16": median("many", "throughput"),
                "stream_throughput_ratio_16": median("stream", "throughput"),
                "rows_ratio_16": median("rows", "throughput"),
                "open_inference_p50_ratio_1": median("same_one", "p50"),
                "open_inference_p99_ratio_1": median("same_one", "p99"),
                "open_inference_throughput_ratio_16": median("same_many", "throughput"),
                "p50_ms": median("one", "p50_ms"),
                "triton_p50_ms": median("one", "triton_p50_ms"),
                "p99_ms": median("one", "p99_ms"),
                "triton_p99_ms": median("one", "triton_p99_ms"),
                "p99_ms_16": median("many", "p99_ms"),
                "triton_p99_ms_16": median("many", "triton_p99_ms"),
                "calls_per_s": median("many", "calls_per_s"),
                "stream_calls_per_s": median("stream", "calls_per_s"),
                "triton_stream_calls_per_s": median("stream", "triton_calls_per_s"),
                "triton_calls_per_s": median("many", "triton_calls_per_s"),
                "rows_per_s": ROWS * median("rows", "calls_per_s"),
                "triton_rows_per_s": ROWS * median("rows", "triton_calls_per_s"),
            }
        )
    )


if __name__ == "__main__":
    main()
