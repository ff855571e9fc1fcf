"""How fast a release's student draws on one thread, noise included, as the default server has it.

    python -m benchmarks.student --table adult

The last line is one JSON object: student_by (what draws the rows: the compiled walk or ONNX
Runtime), p50_us_all (one row, every column to synthesise), p50_us_three (one row, three columns
drawn at random to synthesise), rows_per_s_1024 (batches of 1,024, every column) and
teacher_rows_per_s_1024 (the same of the teacher, every pass it takes). onnxruntime_... are those of
the student's graph in ONNX Runtime, by turns with the others.

p50_us_1_draw and p50_us_32_draws are whole requests, answered in this process on the way that the
server answers them (read, checked and encoded, noise, network, decoded, written) by turns: a row
with three columns missing, once and with 32 draws. p50_us_32_draws_ratio is theirs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cascade_distill.runtime import StudentSampler, TeacherSampler
from cascade_proto import synthesis_pb2 as pb
from cascade_server.cascade.answer import Drawn, drawn_answer
from cascade_server.cascade.dispatch import Dispatcher
from cascade_server.cascade.packing import message_of
from cascade_server.cascade.rehearsal import OPTION, ROUTE
from cascade_server.cascade.repository import Repository
from cascade_server.cascade.request import check
from cascade_server.config import ServerConfig
from cascade_server.counts.sla import Sla
from cascade_server.deadline import Work
from cascade_server.engines.noise import stream
from cascade_server.engines.runtime import Runtime
from cascade_server.terms import Tier
from cascade_server.wire.rows import write_column
from cascade_server.wire.synthesis_request import read_request
from cascade_tables import TokenLayout, list_releases, load_release

from benchmarks.tables import ROOT

WARM, BATCH = 300, 1024
# The teacher takes as many passes as there are columns: of its batches there are fewer by this.
HEAVY = 10
# Different requests for draws of a row, which are asked again and again.
DRAWS_MESSAGES = 200


class ServedStudent:
    """The student of a server's runtime, as `StudentSampler` is of a graph."""

    def __init__(self, runtime: Runtime) -> None:
        self.layout = runtime.layout
        self._runtime = runtime

    def complete(
        self, tokens: np.ndarray, observed: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw the unobserved slots of tokens [n, T]."""
        noise = rng.random((len(tokens), self._runtime.student_noise), dtype=np.float32)
        return self._runtime.draw_student(tokens, observed, noise)


def masks(layout: TokenLayout, missing: int, count: int, seed: int) -> list[np.ndarray]:
    """`count` masks of one row each, with `missing` random columns not observed."""
    rng = np.random.default_rng(seed)
    column = np.array(layout.column)
    columns = int(column.max()) + 1
    return [~np.isin(column, rng.permutation(columns)[:missing])[None] for _ in range(count)]


def one_row_us(
    students: Sequence[ServedStudent | StudentSampler], missing: int, calls: int
) -> np.ndarray:
    """Microseconds of so many calls of each of n students, by turns, after warm-up: [calls, n]."""
    rng = np.random.default_rng(0)
    layout = students[0].layout
    tokens = np.zeros((1, len(layout.sizes)), np.int32)
    seconds = []
    for observed in masks(layout, missing, WARM + calls, seed=1):
        took = []
        for student in students:
            began = time.perf_counter()
            student.complete(tokens, observed, rng)
            took.append(time.perf_counter() - began)
        seconds.append(took)
    return 1e6 * np.array(seconds[WARM:])


class Answering:
    """Answers requests in this process as the default server does, but for the socket.

    Args:
        repository: of releases.
        table: the latest of which answers.
    """

    def __init__(self, repository: Path, table: str) -> None:
        self._config = ServerConfig(repository=repository, pool_bytes=0, cache_bytes=0)
        loaded = Repository.load(repository, 1, lambda _: None, (Tier.STUDENT,))
        self.runtime = loaded.find(table)
        self._dispatcher = Dispatcher(
            loaded, self._config, Sla(self._config).ledger.report, teachers=lambda _: AwayTeacher()
        )
        self._table = table

    def message(self, draws: int, missing: int, seed: int) -> bytes:
        """A request for draws of one row that lacks some columns."""
        noise = stream(seed)
        codec = self.runtime.release.codec
        sizes = np.array(codec.layout.sizes)
        tokens = (noise.random((1, len(sizes))) * sizes).astype(np.int32)
        names = codec.schema.names
        late = set(noise.permutation(len(names))[:missing].tolist())
        out = pb.SynthesizeRequest(table=self._table, draws=draws, seed=seed)
        out.rows.count = 1
        for at, (name, data) in enumerate(codec.decode(tokens, noise).columns.items()):
            if at not in late:
                write_column(out.rows.columns.add(name=name), codec.kinds[name], data)
        return out.SerializeToString()

    def answer(self, message: bytes) -> bytes:
        """The answer's message."""
        asked = pb.SynthesizeRequest.FromString(message)
        read = read_request(asked, self.runtime.fields)
        request = check(read, self.runtime, Work.from_remaining(None), self._config.max_rows)
        (tokens,) = self._dispatcher.engines[self.runtime].draw_now([request])
        drawn = Drawn(tokens, OPTION, ROUTE, None, 0.0, time.perf_counter())
        return message_of(drawn_answer(request, drawn)).SerializeToString()

    def close(self) -> None:
        """Let go of the threads."""
        self._dispatcher.close()


class AwayTeacher:
    """No teacher: what it would take is not asked here."""

    most_rows = 1


def draws_us(answering: Answering, draws: int, calls: int) -> np.ndarray:
    """Microseconds of a request for one draw and of one for several, by turns: [calls, 2]."""
    numbers = 1, draws
    asked = [[answering.message(n, 3, call) for n in numbers] for call in range(DRAWS_MESSAGES)]
    found = []
    for call in range(WARM + calls):
        took = []
        for message in asked[call % DRAWS_MESSAGES]:
            began = time.perf_counter()
            answering.answer(message)
            took.append(1e6 * (time.perf_counter() - began))
        found.append(took)
    return np.array(found[WARM:])


def rows_per_s(sampler: ServedStudent | StudentSampler | TeacherSampler, batches: int) -> float:
    """Rows a second, every column to synthesise: the median of the batches."""
    rng = np.random.default_rng(0)
    shape = (BATCH, len(sampler.layout.sizes))
    tokens, observed = np.zeros(shape, np.int32), np.zeros(shape, bool)
    sampler.complete(tokens, observed, rng)
    seconds = []
    for _ in range(batches):
        began = time.perf_counter()
        sampler.complete(tokens, observed, rng)
        seconds.append(time.perf_counter() - began)
    return BATCH / float(np.median(seconds))


def main() -> None:
    """Measure the student's graph alone, and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.student", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", required=True)
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--calls", type=int, default=4000, help="of one row, each kind")
    parser.add_argument("--batches", type=int, default=30, help="of 1,024 rows")
    options = parser.parse_args()
    versions = list_releases(options.repository).get(options.table)
    if not versions:
        parser.error(f"{options.repository} has no release of {options.table!r}")
    release = load_release(options.repository, options.table, versions[-1])
    layout = release.codec.layout
    graph = StudentSampler(release.student, layout)
    columns = len(release.codec.schema.columns)
    answering = Answering(options.repository, options.table)
    student = ServedStudent(answering.runtime)
    everything, three = (
        one_row_us((student, graph), missing, options.calls) for missing in (columns, 3)
    )
    draws = draws_us(answering, 32, max(1, options.calls // 2))
    answering.close()
    result = {
        "table": options.table,
        "version": versions[-1],
        "columns": columns,
        "slots": len(layout.sizes),
        "student_by": answering.runtime.student_by,
        "p50_us_all": round(float(np.median(everything[:, 0])), 1),
        "p99_us_all": round(float(np.quantile(everything[:, 0], 0.99)), 1),
        "p50_us_three": round(float(np.median(three[:, 0])), 1),
        "p99_us_three": round(float(np.quantile(three[:, 0], 0.99)), 1),
        "onnxruntime_p50_us_all": round(float(np.median(everything[:, 1])), 1),
        "onnxruntime_p50_us_three": round(float(np.median(three[:, 1])), 1),
        "p50_us_1_draw": round(float(np.median(draws[:, 0])), 1),
        "p50_us_32_draws": round(float(np.median(draws[:, 1])), 1),
        "p50_us_32_draws_ratio": round(float(np.divide(*np.median(draws, axis=0)[::-1])), 3),
        "rows_per_s_1024": round(rows_per_s(student, options.batches)),
        "onnxruntime_rows_per_s_1024": round(rows_per_s(graph, options.batches)),
        "teacher_rows_per_s_1024": round(
            rows_per_s(TeacherSampler(release.teacher, layout), max(1, options.batches // HEAVY))
        ),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
