"""Where each microsecond and each CPU millisecond of a call goes, ours and Triton's.

    python -m benchmarks.call --table credit

`Synthesize` of one row with three features late, asked of the default server, and the same row's
tokens through the bare student in a real Triton, by h2load: one at a time for the microseconds, 16
in flight for the CPU time, which is that of all processes of a server, user and system; of ours it
has the teacher's, which makes rows for the pool beside the calls. The servers take turns, and only
one of them is there at a time.

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
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.h2load import IN_FLIGHT, WARM_CALLS, load, warm
from cascade_loadtest.requests import LATE, SYNTHESIZE, late_features
from cascade_loadtest.servers import DEFAULT, Served, default_server, serving
from cascade_proto import inference_pb2 as oip
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.inference_pb2_grpc import GRPCInferenceServiceStub
from cascade_proto.synthesis_pb2_grpc import SynthesisStub
from cascade_server.cascade.answer import Drawn, drawn_answer
from cascade_server.cascade.dispatch import Dispatcher
from cascade_server.cascade.repository import Repository
from cascade_server.cascade.request import check
from cascade_server.config import ServerConfig
from cascade_server.counts.sla import Sla
from cascade_server.deadline import Work
from cascade_server.objectives.report import OK
from cascade_server.services.synthesize_message import SynthesizeMessage
from cascade_server.terms import Tier
from cascade_tables import list_releases, load_release

from benchmarks.load.rounds import Rounds
from benchmarks.peers import echo, triton_messages, triton_student
from benchmarks.peers.triton_server import NotInstalled, TritonFailed, triton
from benchmarks.tables import ROOT

PART_CALLS = 3000
PARTS = ("read", "encode", "route", "noise", "run", "decode", "write", "count")


@dataclass(frozen=True)
class Came:
    """A call whose message is there."""

    message: bytes


@dataclass(frozen=True)
class Turn:
    """A server that is up, and what it is asked."""

    server: Served
    method: str
    message: bytes

    def warm(self, calls: int) -> None:
        """Before so many calls are measured."""
        warm(self.server.target, self.method, self.message, min(calls, WARM_CALLS))

    def p50(self, calls: int) -> float:
        """Microseconds of a call, one at a time, median."""
        found = load(self.server.target, self.method, self.message, calls, 1)
        return 1e3 * found.quantile(0.5)

    def cpu_ms(self, calls: int) -> float:
        """CPU milliseconds for a call, 16 in flight, of all processes of the server."""
        before = self._cpu_seconds()
        load(self.server.target, self.method, self.message, calls, IN_FLIGHT)
        return 1e3 * (self._cpu_seconds() - before) / calls

    def _cpu_seconds(self) -> float:
        first = psutil.Process(self.server.pid)
        times = (each.cpu_times() for each in (first, *first.children(recursive=True)))
        return sum(each.user + each.system for each in times)


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


def parts(repository: Path, table: str, message: bytes, calls: int) -> dict[str, float]:
    """Medians, µs, of what a call of one row does in the server, warm and in this process."""
    config = ServerConfig(repository=repository, pool_bytes=0, cache_bytes=0)
    sla = Sla(config)
    loaded = Repository.load(repository, 1, lambda _: None, (Tier.STUDENT,))
    dispatcher = Dispatcher(loaded, config, sla.ledger.report, teachers=lambda _: _Away())
    runtime = loaded.find(table)
    noise = np.empty((1, runtime.student_noise), np.float32)
    found: dict[str, list[float]] = {part: [] for part in PARTS}
    for _ in range(calls):
        marks = [time.perf_counter()]
        mark = partial(_mark, marks)
        asked, work = SynthesizeMessage(Came(message)), Work.from_remaining(None)
        heading, read = asked.heading(), asked.read(runtime, work)
        mark()
        request = check(read, runtime, work, config.max_rows)
        mark()
        route = dispatcher.route(request)
        mark()
        request.fill_student_noise(noise)
        mark()
        tokens = runtime.draw_student(*request.completed(), noise)
        mark()
        assert route.option is not None
        drawn = Drawn(tokens, route.option, route, None, 0.0, time.perf_counter())
        answer = drawn_answer(request, drawn)
        mark()
        asked.pack(answer)
        mark()
        call = sla.call(heading.service)
        call.asks(table, heading.service, request.work.deadline, heading.rows)
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

    most_rows = 1

    def predict(self, _rows: int, _passes: int) -> float:
        return float("inf")


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Start, warm, ask and end each server in turn."""
    version = list_releases(options.repository)[options.table][-1]
    release = load_release(options.repository, options.table, version)
    slots = len(release.codec.layout.sizes)
    observed = (np.array(release.codec.layout.column) >= LATE)[None]
    known = np.zeros((1, slots), np.int32)
    tokens = triton_messages.student_request(triton_student.NAME, known, observed)
    rounds, message, answer_bytes = Rounds(), b"", 0
    with tempfile.TemporaryDirectory(prefix="models-") as folder:
        triton_student.write_student(Path(folder), release, 1)
        for _ in range(options.rounds):
            with serving(default_server(options.repository)) as server:
                if not message:
                    message, answer_bytes = late_features(server.target, options.table)
                ours = Turn(server, SYNTHESIZE, message)
                ours.warm(options.calls)
                before = counted(server.target, options.table)
                rounds.keep(cascade_p50=ours.p50(options.calls))
                after = counted(server.target, options.table)
                # What the pool answers runs nothing.
                if runs := after[1] - before[1]:
                    rounds.keep(cascade_run=1e6 * (after[0] - before[0]) / runs)
                rounds.keep(cascade_cpu_ms=ours.cpu_ms(options.calls))
            with serving(echo.command(answer_bytes, "--own")) as server:
                bare = Turn(server, SYNTHESIZE, message)
                bare.warm(options.calls)
                rounds.keep(bare_p50=bare.p50(options.calls))
                rounds.keep(bare_cpu_ms=bare.cpu_ms(options.calls))
            with triton(Path(folder)) as peer:
                server = Served(peer.target, peer.pid)
                theirs = Turn(server, triton_messages.MODEL_INFER, tokens)
                theirs.warm(options.calls)
                seen = triton_counted(peer.target)
                rounds.keep(triton_p50=theirs.p50(options.calls))
                for part, (count, seconds) in triton_counted(peer.target).items():
                    calls = count - seen[part][0]
                    rounds.keep(**{f"triton_{part}": 1e6 * (seconds - seen[part][1]) / calls})
                rounds.keep(triton_cpu_ms=theirs.cpu_ms(options.calls))
    part_calls = min(options.calls, PART_CALLS)
    warm_parts = parts(options.repository, options.table, message, part_calls)
    warm_keys = {f"warm_{key}": value for key, value in warm_parts.items()}
    return {"table": options.table, "server": DEFAULT, **rounds.medians(), **warm_keys}


def main() -> None:
    """Measure what a call costs, stage by stage, and print it."""
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
