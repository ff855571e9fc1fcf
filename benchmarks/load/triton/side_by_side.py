"""Our server and a real Triton with the same student, one after the other, round by round."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from cascade_loadtest import stream_loop
from cascade_loadtest.h2load import IN_FLIGHT, Measured, load
from cascade_loadtest.requests import LATE, SYNTHESIZE, late_features
from cascade_loadtest.servers import DEFAULT, default_server, serving
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from cascade_tables import Release, list_releases, load_release
from rich.console import Console

from benchmarks.load.rounds import Rounds
from benchmarks.peers import triton_messages, triton_student
from benchmarks.peers.triton_server import triton

ROWS, CONNECTIONS, STREAMS = 16, 8, 4
WARM_CALLS = 1000
console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Load:
    """What a server is asked, and how much of it at once.

    Attributes:
        name: what its figures are called.
        method: "/package.Service/Method"; `stream_loop.METHOD`: over standing streams.
        message: of every call.
        in_flight: calls, or requests of all streams together.
    """

    name: str
    method: str
    message: bytes
    in_flight: int

    def ask(self, target: str, calls: int) -> Measured:
        """Ask one server so many calls, and keep what they took."""
        if self.method == stream_loop.METHOD:
            return stream_loop.load(target, self.message, calls, self.in_flight, STREAMS)
        # Several connections, or all calls would be with one worker.
        connections = min(self.in_flight, CONNECTIONS)
        return load(target, self.method, self.message, calls, self.in_flight, connections)


@dataclass(frozen=True)
class Messages:
    """The row with its features late, in all the ways that it is asked."""

    one: bytes
    many: bytes
    tokens: bytes
    many_tokens: bytes
    own_tokens: bytes

    @classmethod
    def of(cls, target: str, release: Release) -> Messages:
        """Made with a server of ours that serves the release."""
        table, layout = release.manifest.table, release.codec.layout
        one, _ = late_features(target, table)
        observed = (np.array(layout.column) >= LATE)[None]
        known, name = np.zeros((1, len(layout.sizes)), np.int32), triton_student.NAME
        student_request = triton_messages.student_request
        return cls(
            one,
            repeated(target, one),
            student_request(name, known, observed),
            student_request(name, known.repeat(ROWS, axis=0), observed.repeat(ROWS, axis=0)),
            student_request(f"{table}_student", known, observed),
        )

    def ours_alone(self) -> tuple[Load, ...]:
        """Of the default server, one call at a time."""
        return (
            Load("one", SYNTHESIZE, self.one, 1),
            Load("same_one", triton_messages.MODEL_INFER, self.own_tokens, 1),
        )

    def ours_busy(self) -> tuple[Load, ...]:
        """Of a server with a worker for each core."""
        return (
            Load("many", SYNTHESIZE, self.one, IN_FLIGHT),
            Load("stream", stream_loop.METHOD, self.one, IN_FLIGHT),
            Load("rows", SYNTHESIZE, self.many, IN_FLIGHT),
            Load("same_many", triton_messages.MODEL_INFER, self.own_tokens, IN_FLIGHT),
        )

    def tritons(self) -> tuple[Load, ...]:
        """The requests as Triton's models have them."""
        return (
            Load("triton_one", triton_messages.MODEL_INFER, self.tokens, 1),
            Load("triton_many", triton_messages.MODEL_INFER, self.tokens, IN_FLIGHT),
            Load("triton_rows", triton_messages.MODEL_INFER, self.many_tokens, IN_FLIGHT),
        )


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


def turn(target: str, loads: tuple[Load, ...], calls: int, rounds: Rounds) -> None:
    """Warm a server that has just been started with all that it is to be asked, then ask it."""
    for each in loads:
        each.ask(target, min(calls, WARM_CALLS))
    for each in loads:
        found = each.ask(target, calls)
        console.print(
            f"{each.name}, {each.in_flight} in flight: p50 {found.quantile(0.5):.3f} ms, "
            f"p99 {found.quantile(0.99):.3f} ms, {found.calls_per_s:,.0f} calls/s"
        )
        figures = {
            "p50_ms": found.quantile(0.5),
            "p99_ms": found.quantile(0.99),
            "calls_per_s": found.calls_per_s,
        }
        rounds.keep(**{f"{each.name}_{key}": value for key, value in figures.items()})


@contextmanager
def tritons_models(release: Release, instances: int) -> Iterator[Path]:
    """A model repository with the bare student, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="models-") as name:
        triton_student.write_student(Path(name), release, instances)
        yield Path(name)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Every round, as `python -m benchmarks.triton` prints them."""
    version = list_releases(options.repository)[options.table][-1]
    release = load_release(options.repository, options.table, version)
    ours = default_server(options.repository)
    busy = (*ours, "--workers", str(options.workers))
    rounds, messages = Rounds(), None
    with tritons_models(release, options.instances) as models:
        for _ in range(options.rounds):
            with serving(ours) as server:
                messages = messages or Messages.of(server.target, release)
                turn(server.target, messages.ours_alone(), options.calls, rounds)
            with serving(busy) as server:
                turn(server.target, messages.ours_busy(), options.calls, rounds)
            with triton(models) as peer:
                turn(peer.target, messages.tritons(), options.calls, rounds)
    median, ratio = rounds.median, rounds.ratio
    return {
        "table": options.table,
        "server": DEFAULT,
        "workers_16": options.workers,
        "p50_ratio_1": ratio("one_p50_ms", "triton_one_p50_ms"),
        "p99_ratio_1": ratio("one_p99_ms", "triton_one_p99_ms"),
        "p99_ratio_16": ratio("many_p99_ms", "triton_many_p99_ms"),
        "throughput_ratio_16": ratio("many_calls_per_s", "triton_many_calls_per_s"),
        "stream_throughput_ratio_16": ratio("stream_calls_per_s", "triton_many_calls_per_s"),
        "rows_ratio_16": ratio("rows_calls_per_s", "triton_rows_calls_per_s"),
        "open_inference_p50_ratio_1": ratio("same_one_p50_ms", "triton_one_p50_ms"),
        "open_inference_p99_ratio_1": ratio("same_one_p99_ms", "triton_one_p99_ms"),
        "open_inference_throughput_ratio_16": ratio(
            "same_many_calls_per_s", "triton_many_calls_per_s"
        ),
        "p50_ms": median("one_p50_ms"),
        "triton_p50_ms": median("triton_one_p50_ms"),
        "p99_ms": median("one_p99_ms"),
        "triton_p99_ms": median("triton_one_p99_ms"),
        "p99_ms_16": median("many_p99_ms"),
        "triton_p99_ms_16": median("triton_many_p99_ms"),
        "calls_per_s": median("many_calls_per_s"),
        "stream_calls_per_s": median("stream_calls_per_s"),
        "triton_stream_calls_per_s": median("triton_many_calls_per_s"),
        "triton_calls_per_s": median("triton_many_calls_per_s"),
        "open_inference_calls_per_s": median("same_many_calls_per_s"),
        "rows_per_s": round(ROWS * median("rows_calls_per_s"), 1),
        "triton_rows_per_s": round(ROWS * median("triton_rows_calls_per_s"), 1),
    }
