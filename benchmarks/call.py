"""Where each microsecond and each CPU millisecond of a call goes, ours and Triton's.

    python -m benchmarks.call --table credit

`Synthesize` of one row with three features late, and the same row's tokens through the bare
student in a real Triton, asked by h2load: one at a time for the microseconds, 16 in flight for the
CPU time, which is that of all processes of a server, user and system.

Ours is taken apart twice: in place, beside the same transport with nothing behind it (bare), and by
what the server counts of its student's runs; and warm, part by part in this process. Triton's is
taken apart by its own statistics. The last line is one JSON object; times are microseconds unless a
key says otherwise.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from cascade_loadtest.h2load import LoadFailed, Measured, load
from cascade_proto import inference_pb2 as oip
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.inference_pb2_grpc import GRPCInferenceServiceStub
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from cascade_server.cascade import synthesis
from cascade_server.cascade.dispatch import Dispatcher
from cascade_server.cascade.repository import Repository
from cascade_server.config import ServerConfig
from cascade_server.counts.ledger import OK
from cascade_server.counts.sla import Sla
from cascade_server.deadline import Work
from cascade_server.terms import Tier
from cascade_tables import list_releases, load_release

from benchmarks.latency import IN_FLIGHT, METHOD, MISSING, cascade, process, request
from benchmarks.peers import triton_messages, triton_student
from benchmarks.peers.triton_server import NotInstalled, TritonFailed, triton
from benchmarks.tables import ROOT

WARM_CALLS, PART_CALLS = 2000, 3000
PARTS = ("read", "encode", "route", "noise", "run", "decode", "write", "count")


def cpu_seconds(of: psutil.Process) -> float:
    """That a process and its descendants have used, user and system."""
    times = (each.cpu_times() for each in (of, *of.children(recursive=True)))
    return sum(each.user + each.system for each in times)


def cpu_ms(of: psutil.Process, ask: Callable[..., Measured], calls: int) -> float:
    """CPU milliseconds of a server for a call."""
    before = cpu_seconds(of)
    ask(calls=calls)
    return 1e3 * (cpu_seconds(of) - before) / calls


@contextmanager
def server(*command: str) -> Iterator[tuple[str, psutil.Process]]:
    """A server in a process of its own; yields its address and it."""
    before = set(psutil.Process().children())
    with process(*command) as target:
        (found,) = set(psutil.Process().children()) - before
        yield target, found


def counted(target: str, table: str) -> tuple[float, int]:
    """What our server has counted of the student: seconds of its runs, and how many."""
    with grpc.insecure_channel(target) as channel:
        stub = SynthesisStub(channel)  # type: ignore[no-untyped-call]
        engines = stub.GetStatistics(pb.GetStatisticsRequest()).engines
    engine = next(each for each in engines if (each.table, each.tier) == (table, pb.TIER_STUDENT))
    return engine.run_nanoseconds / 1e9, engine.runs


def triton_counted(target: str) -> dict[str, tuple[int, float]]:
    """What Triton has counted of the student: calls and seconds of each part."""
    with grpc.insecure_channel(target) as channel:
        stub = GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        wanted = oip.ModelStatisticsRequest(name=triton_student.NAME)
        stats = stub.ModelStatistics(wanted).model_stats[0].inference_stats
    names = {
        "queue": "queue",
        "input": "compute_input",
        "infer": "compute_infer",
        "output": "compute_output",
        "request": "success",
    }
    found = {name: getattr(stats, field) for name, field in names.items()}
    return {name: (each.count, each.ns / 1e9) for name, each in found.items()}


def parts(repository: Path, table: str, message: bytes) -> dict[str, float]:
    """Medians, µs, of what a call of one row does in the server, warm and in this process."""
    config = ServerConfig(repository=repository, pool_bytes=0)
    sla = Sla(config)
    loaded = Repository.load(repository, 1, lambda _: None, (Tier.STUDENT,))
    dispatcher = Dispatcher(loaded, config, sla.ledger.report, teachers=lambda _: _Away())
    runtime = loaded.find(table)
    noise = dispatcher.engines[runtime].noise[:1]
    found: dict[str, list[float]] = {part: [] for part in PARTS}
    for _ in range(PART_CALLS):
        marks = [time.perf_counter()]
        mark = partial(_mark, marks)
        asked = pb.SynthesizeRequest.FromString(message)
        mark()
        job = synthesis.plan(asked, runtime, Work.within(None), config.max_rows)
        mark()
        route = dispatcher.route(job)
        mark()
        job.rng.random(dtype=np.float32, out=noise)
        mark()
        tokens = runtime.draw_student(*job.completed(), noise)
        mark()
        assert route.option is not None
        now = time.perf_counter()
        drawn = synthesis.Drawn(tokens, route.option, route, None, 0.0, now)
        response = synthesis.pack(job, drawn)
        mark()
        response.SerializeToString()
        mark()
        synthesis.recycle(job.rng)
        call = sla.call(synthesis.class_of(asked))
        call.asks(table, synthesis.class_of(asked), job.work.deadline)
        call.sends(Tier.STUDENT, 1)
        call.ends(OK)
        mark()
        for part, (begin, end) in zip(PARTS, pairwise(marks), strict=True):
            found[part].append(1e6 * (end - begin))
    dispatcher.close()
    return {part: round(float(np.median(times)), 1) for part, times in found.items()}


def _mark(marks: list[float]) -> None:
    marks.append(time.perf_counter())


class _Away:
    """No teacher: what it would take is not asked here."""

    def predict(self, _rows: int, _passes: int) -> float:
        return float("inf")


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Start all, ask them in turn."""
    version = list_releases(options.repository)[options.table][-1]
    release = load_release(options.repository, options.table, version)
    slots = len(release.codec.layout.sizes)
    observed = (np.array(release.codec.layout.column) >= MISSING)[None]
    with ExitStack() as stack:
        ours, ours_process = stack.enter_context(server(*cascade(options.repository)))
        message, answer_bytes = request(ours, options.table)
        size = ("--answer-bytes", str(answer_bytes))
        bare, bare_process = stack.enter_context(
            server("-m", "benchmarks.peers.echo", "--own", *size)
        )
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="models-")))
        triton_student.write_student(folder, release, 1)
        theirs = stack.enter_context(triton(folder))
        known = np.zeros((1, slots), np.int32)
        tokens = triton_messages.student_request(triton_student.NAME, known, observed)
        peers = {
            "cascade": (ours, METHOD, message, ours_process),
            "bare": (bare, METHOD, message, bare_process),
            "triton": (
                theirs.target,
                triton_messages.MODEL_INFER,
                tokens,
                psutil.Process(theirs.pid),
            ),
        }
        rounds: dict[str, list[float]] = {}

        def keep(key: str, value: float) -> None:
            rounds.setdefault(key, []).append(value)

        for target, method, sent, _ in peers.values():
            load(target, method, sent, WARM_CALLS, IN_FLIGHT)
        for _ in range(options.rounds):
            for name, (target, method, sent, of) in peers.items():
                before = counted(ours, options.table), triton_counted(theirs.target)
                one = load(target, method, sent, options.calls, 1)
                after = counted(ours, options.table), triton_counted(theirs.target)
                keep(f"{name}_p50", 1e3 * one.quantile(0.5))
                if name == "cascade":
                    runs = after[0][1] - before[0][1]
                    keep("cascade_run", 1e6 * (after[0][0] - before[0][0]) / runs)
                if name == "triton":
                    for part, (count, seconds) in after[1].items():
                        calls = count - before[1][part][0]
                        keep(f"triton_{part}", 1e6 * (seconds - before[1][part][1]) / calls)
                many = partial(load, target, method, sent, in_flight=IN_FLIGHT)
                keep(f"{name}_cpu_ms", cpu_ms(of, many, options.calls))
    medians = {key: round(float(np.median(values)), 3) for key, values in rounds.items()}
    warm = parts(options.repository, options.table, message)
    return {"table": options.table, **medians, **{f"warm_{k}": v for k, v in warm.items()}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.call", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", default="credit")
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=4000)
    options = parser.parse_args()
    try:
        found = measured(options)
    except (LoadFailed, NotInstalled, TritonFailed) as exc:
        sys.exit(f"error: {exc}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
