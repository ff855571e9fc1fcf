"""Writes an answer as the protobuf message that `Synthesize` and its stream send."""

from __future__ import annotations

import math
import time
from functools import lru_cache

from cascade_proto import synthesis_pb2 as pb
from cascade_tables import OutsideValues

from cascade_server.cascade.answer import Answer
from cascade_server.cascade.request import CheckedRequest
from cascade_server.cascade.router import Route
from cascade_server.engines.runtime import Runtime
from cascade_server.terms import Tier
from cascade_server.wire import rows as wire
from cascade_server.wire.enums import OUTSIDE_KINDS

# Cached serialized combinations of release, tier and passes.
ORIGINS = 256
# Protobuf's tags of fields of `SynthesizeResponse`, `Provenance` and `Timings`.
ROWS, PROVENANCE, SEED, TIMINGS = b"\x0a", b"\x1a", b"\x30", b"\x4a"
ENCODE, QUEUE, COMPUTE, DECODE = b"\x08", b"\x10", b"\x18", b"\x20"


def packed(answer: Answer) -> bytes:
    """Serialize an answer as a `SynthesizeResponse`.

    The most frequent answer, already serialized rows with a plain provenance, is assembled from
    bytes in a quarter of the time that protobuf takes.
    """
    request, rows = answer.request, answer.rows
    if (
        not isinstance(rows, bytes)
        or answer.log_likelihood
        or answer.from_pool
        or answer.cached
        or answer.route is not None
        or request.encoded.outside is not None
    ):
        return message_of(answer).SerializeToString()
    release = request.runtime.release.manifest
    teacher = answer.tier is Tier.TEACHER
    origin = _origin(release.table, release.version, release.epsilon, teacher, answer.steps)
    encode, queue, compute, decode = timings(request, answer.queued, answer.finished)
    took = b"".join(
        (
            *(ENCODE, _varint(encode), QUEUE, _varint(queue)),
            *(COMPUTE, _varint(compute), DECODE, _varint(decode)),
        )
    )
    provenance = b"".join((origin, SEED, _varint(request.seed), TIMINGS, _varint(len(took)), took))
    return b"".join(
        (ROWS, _varint(len(rows)), rows, PROVENANCE, _varint(len(provenance)), provenance)
    )


def _varint(number: int) -> bytearray:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return out


def write_answer(answer: Answer, out: pb.SynthesizeResponse) -> None:
    """Fill an empty message with an answer."""
    request = answer.request
    write_rows(answer, out.rows)
    if answer.log_likelihood:
        out.log_likelihood.extend(answer.log_likelihood)
    provenance = out.provenance
    seed = 0 if answer.from_pool else request.seed
    fill_provenance(provenance, request.runtime, answer.tier is Tier.TEACHER, answer.steps, seed)
    if answer.from_pool:
        provenance.from_pool = True
    if answer.cached:
        provenance.cached = True
    if request.encoded.outside is not None:
        name_outside_values(request.encoded.outside, provenance)
    if answer.route is not None:
        explain(answer.route, provenance.routing)
        if answer.reason is not None:
            provenance.routing.reason = answer.reason
    fill_timings(request, provenance.timings, answer.queued, answer.finished)


def name_outside_values(outside: OutsideValues, out: pb.Provenance) -> None:
    """List the values that were never learnt, and how each was treated."""
    out.notices.extend(outside.notices)
    for found in outside.first:
        kind = OUTSIDE_KINDS[found.kind]
        out.outside_values.add(
            column=found.column, row=found.row, kind=kind, conditioned_on=found.conditioned_on
        )
    for (column, kind_name), values in outside.totals.items():
        out.outside_totals.add(column=column, kind=OUTSIDE_KINDS[kind_name], values=values)


def message_of(answer: Answer) -> pb.SynthesizeResponse:
    """Convert an answer to a message."""
    out = pb.SynthesizeResponse()
    write_answer(answer, out)
    return out


def write_rows(answer: Answer, out: pb.Rows) -> None:
    """Fill an empty message with an answer's columns."""
    if isinstance(answer.rows, bytes):
        out.MergeFromString(answer.rows)
        return
    out.count = answer.request.total
    kinds = answer.request.runtime.release.codec.kinds
    for name, values in answer.rows.items():
        wire.write_values(out.columns.add(name=name), kinds[name], values)


def explain(route: Route, out: pb.Routing) -> None:
    """Fill a message with the reason why a tier answered."""
    out.reason = route.reason
    for option in route.considered:
        if math.isinf(option.seconds):
            continue  # not available, so there is no prediction to show
        out.considered.add(
            tier=pb.TIER_TEACHER if option.tier is Tier.TEACHER else pb.TIER_STUDENT,
            steps=option.steps,
            predicted=microseconds(0, option.seconds),
            from_pool=option.from_pool,
        )


def fill_timings(request: CheckedRequest, out: pb.Timings, queued: float, finished: float) -> None:
    """Fill a message with the times of the stages, from the start of reading until now."""
    out.encode, queue, out.compute, out.decode = timings(request, queued, finished)
    if queue:
        out.queue = queue


def timings(request: CheckedRequest, queued: float, finished: float) -> tuple[int, int, int, int]:
    """Return the microseconds of encoding, queueing, computing, and decoding until now.

    Args:
        request: has the times of reading and encoding.
        queued: seconds in queues.
        finished: when its rows were drawn (`time.perf_counter`).
    """
    encoded, queue = request.encoded_at, round(1e6 * queued)
    compute = max(0, round(1e6 * (finished - encoded)) - queue)
    decode = round(1e6 * (time.perf_counter() - finished))
    return round(1e6 * (encoded - request.began)), queue, compute, decode


def fill_provenance(
    out: pb.Provenance, runtime: Runtime, teacher: bool, steps: int, seed: int
) -> None:
    """Fill a message with the provenance of rows: release, tier, passes and seed."""
    release = runtime.release.manifest
    out.MergeFromString(_origin(release.table, release.version, release.epsilon, teacher, steps))
    out.seed = seed


@lru_cache(ORIGINS)
def _origin(table: str, version: int, epsilon: float | None, teacher: bool, steps: int) -> bytes:
    """Serialize the `Provenance` shared by rows of a release, a tier and a number of passes."""
    out = pb.Provenance(synthetic=True, table=table, version=version, steps=steps)
    out.tier = pb.TIER_TEACHER if teacher else pb.TIER_STUDENT
    if epsilon is not None:
        out.epsilon = epsilon
    return out.SerializeToString()


def microseconds(start: float, end: float) -> int:
    """Return the whole microseconds between two times in seconds."""
    return round((end - start) * 1e6)
