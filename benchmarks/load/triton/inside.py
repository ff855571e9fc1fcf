"""A table's models inside one Triton, beside the smallest student that it can serve there.

The cascade takes values and gives values, as `row` and as a tensor a column, with three features
late and the student to draw; the bare student takes tokens and gives tokens. Each is asked in turn
by h2load, 16 in flight, all in the same Triton, and its answer is looked at beforehand.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.h2load import IN_FLIGHT, load
from cascade_loadtest.requests import LATE
from cascade_proto import inference_pb2 as pb
from cascade_tables import Codec, Kind, Release, list_releases, load_release
from cascade_tables.releases.triton_files import configure
from rich.console import Console

from benchmarks.peers import triton_student
from benchmarks.peers.triton_messages import MODEL_INFER, student_request
from benchmarks.peers.triton_server import triton

STATISTICS = "/inference.GRPCInferenceService/ModelStatistics"
CONNECTIONS = 8
# Seconds without a call of the teacher, after which the cascade is taken to have seen how long its
# networks take, and at most to wait for that.
QUIET_SECONDS, SETTLED_SECONDS = 1.0, 60.0
DATATYPES = {Kind.BOOLEAN: "BOOL", Kind.INTEGER: "INT64", Kind.CONTINUOUS: "FP64"}
console = Console(stderr=True, highlight=False)


def infer(channel: grpc.Channel, message: bytes) -> pb.ModelInferResponse:
    """One inference call, of which only the time matters."""
    try:
        answer = channel.unary_unary(MODEL_INFER)(message)
    except grpc.RpcError as exc:
        raise LoadFailed(f"Triton refuses what it is to be asked: {exc}") from exc
    return pb.ModelInferResponse.FromString(answer)


def requests(channel: grpc.Channel, release: Release) -> dict[str, bytes]:
    """A request of each kind, for one row whose first columns are missing."""
    table, schema = release.manifest.table, release.codec.schema
    nothing = pb.ModelInferRequest(model_name=table)
    nothing.inputs.add(name="row", datatype="FP64", shape=[1, len(schema.columns)])
    nothing.raw_input_contents.append(np.full(len(schema.columns), math.nan).tobytes())
    nothing.outputs.add(name="row")
    nothing.parameters["fidelity"].string_param = "fast"
    drawn = infer(channel, nothing.SerializeToString()).raw_output_contents[0]
    known = np.frombuffer(drawn).copy()
    known[:LATE] = math.nan
    row = pb.ModelInferRequest()
    row.CopyFrom(nothing)
    row.raw_input_contents[0] = known.tobytes()
    answer = np.frombuffer(infer(channel, row.SerializeToString()).raw_output_contents[0])
    if not (np.array_equal(answer[LATE:], known[LATE:]) and np.isfinite(answer).all()):
        raise LoadFailed(f"{table} answers {answer} to {known}")
    columns = pb.ModelInferRequest(model_name=table)
    columns.parameters["fidelity"].string_param = "fast"
    for column in schema.columns[:LATE]:
        columns.outputs.add(name=column.name)
    for at in range(LATE, len(schema.columns)):
        add_column(columns, release.codec, at, known[at])
    message = columns.SerializeToString()
    if len(infer(channel, message).outputs) != LATE:
        raise LoadFailed(f"{table} does not answer {LATE} columns")
    slots = len(release.codec.layout.sizes)
    observed = (np.array(release.codec.layout.column) >= LATE)[None]
    tokens = np.zeros((1, slots), np.int32)
    out = {"row": row.SerializeToString(), "columns": message}
    for name in (triton_student.NAME, f"{table}_student"):
        out[name] = student_request(name, tokens, observed)
        if len(infer(channel, out[name]).raw_output_contents[0]) != tokens.nbytes:
            raise LoadFailed(f"{name} does not answer {slots} tokens")
    return out


def add_column(request: pb.ModelInferRequest, codec: Codec, at: int, value: float) -> None:
    """Add a column's input, of its number in `row`.

    Args:
        request: to add it to.
        codec: of the table.
        at: the column's place in the schema.
        value: of categories, the place among those that answers may have, folded ones too.
    """
    column = codec.schema.columns[at]
    if column.kind is Kind.CATEGORICAL:
        text = codec.rows.labels[at][int(value)].encode()
        datatype, raw = "BYTES", len(text).to_bytes(4, "little") + text
    else:
        datatype = DATATYPES.get(column.kind, "INT64")
        kind = {"BOOL": np.bool_, "FP64": np.float64}.get(datatype, np.int64)
        raw = np.array([value]).astype(kind).tobytes()
    request.inputs.add(name=column.name, datatype=datatype, shape=[1, 1])
    request.raw_input_contents.append(raw)


def batch(channel: grpc.Channel, model: str) -> tuple[int, int]:
    """Rows and runs of a model so far."""
    request = pb.ModelStatisticsRequest(name=model).SerializeToString()
    answer = channel.unary_unary(STATISTICS)(request)
    (of,) = pb.ModelStatisticsResponse.FromString(answer).model_stats
    return of.inference_count, of.execution_count


def settle(channel: grpc.Channel, teacher: str) -> None:
    """Wait until the cascade no longer tries its networks, which it does beside its first calls."""
    until, seen, since = time.monotonic() + SETTLED_SECONDS, (0, 0), time.monotonic()
    while seen == (0, 0) or time.monotonic() - since < QUIET_SECONDS:
        if time.monotonic() > until:
            raise LoadFailed(f"{teacher} is asked all the time, or never")
        now = batch(channel, teacher)
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.1)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Medians of the rounds, as `python -m benchmarks.triton --inside` prints them."""
    version = list_releases(options.repository)[options.table][-1]
    release = load_release(options.repository, options.table, version)
    table = options.table
    rounds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="models-") as folder:
        models = Path(folder) / "models"
        shutil.copytree(options.repository, models)
        configure(models, table=table, priorities=options.priorities)
        triton_student.write_student(models, release, options.instances)
        if options.student:
            config = models / table / "config.pbtxt"
            text = re.sub(
                r'(key: "student"\s+value \{\s+string_value: )"\w+"',
                rf'\1"{options.student}"',
                config.read_text(),
            )
            config.write_text(text)
        names = (triton_student.NAME, table, f"{table}_student", f"{table}_teacher")
        with (
            triton(models, models=names) as server,
            grpc.insecure_channel(server.target) as channel,
        ):
            asked = requests(channel, release)
            for message in asked.values():
                load(server.target, MODEL_INFER, message, 1000, IN_FLIGHT, CONNECTIONS)
            settle(channel, f"{table}_teacher")
            # Round by round, so that a change of the machine's speed is in all of them.
            for _ in range(options.rounds):
                for name, message in asked.items():
                    model = table if name in ("row", "columns") else name
                    before = batch(channel, model)
                    many = load(
                        server.target, MODEL_INFER, message, options.calls, IN_FLIGHT, CONNECTIONS
                    )
                    after = batch(channel, model)
                    one = load(server.target, MODEL_INFER, message, options.calls // 10, 1)
                    of = (after[0] - before[0]) / max(1, after[1] - before[1])
                    console.print(
                        f"{name}: {many.calls_per_s:,.0f} calls/s, {of:.1f} a batch; "
                        f"one at a time p50 {one.quantile(0.5):.3f} ms"
                    )
                    rounds.setdefault(f"{name}_calls_per_s", []).append(many.calls_per_s)
                    rounds.setdefault(f"{name}_p50_ms", []).append(one.quantile(0.5))
                    rounds.setdefault(f"{name}_p99_ms_16", []).append(many.quantile(0.99))
                    rounds.setdefault(f"{name}_slowest_ms_16", []).append(many.quantile(1.0))
                    rounds.setdefault(f"{name}_batch", []).append(of)
    bare, own = triton_student.NAME, f"{table}_student"

    def ratio(name: str) -> float:
        pairs = zip(rounds[f"{name}_calls_per_s"], rounds[f"{bare}_calls_per_s"], strict=True)
        return round(float(np.median([a / b for a, b in pairs])), 3)

    found = {key.replace(own, "own_student"): values for key, values in rounds.items()}
    return {
        "table": table,
        "inside_throughput_ratio": ratio("row"),
        "inside_columns_throughput_ratio": ratio("columns"),
        "inside_student_throughput_ratio": ratio(own),
        **{
            key: round(float(np.max(values) if "slowest" in key else np.median(values)), 3)
            for key, values in found.items()
        },
    }
