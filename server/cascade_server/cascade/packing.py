"""An answer as the message that `Synthesize` and its stream send."""

from __future__ import annotations

import math
import time

from cascade_proto import synthesis_pb2 as pb
from cascade_tables import OutsideValues

from cascade_server.cascade.answer import Answer
from cascade_server.cascade.request import CheckedRequest
from cascade_server.cascade.router import Route
from cascade_server.engines.runtime import Runtime
from cascade_server.terms import Tier
from cascade_server.wire import rows as wire
from cascade_server.wire.enums import OUTSIDE_KINDS


def write_answer(answer: Answer, out: pb.SynthesizeResponse) -> None:
    """Fill an empty message."""
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
    """Say which values are outside of what was learnt, and what was made of them."""
    out.notices.extend(outside.notices)
    for found in outside.first:
        kind = OUTSIDE_KINDS[found.kind]
        out.outside_values.add(
            column=found.column, row=found.row, kind=kind, conditioned_on=found.conditioned_on
        )
    for (column, of_kind), values in outside.totals.items():
        out.outside_totals.add(column=column, kind=OUTSIDE_KINDS[of_kind], values=values)


def message_of(answer: Answer) -> pb.SynthesizeResponse:
    """A message of its own."""
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
    """Say why a tier answered."""
    out.reason = route.reason
    for option in route.considered:
        if math.isinf(option.seconds):
            continue  # it is not there, so there is nothing to predict
        out.considered.add(
            tier=pb.TIER_TEACHER if option.tier is Tier.TEACHER else pb.TIER_STUDENT,
            steps=option.steps,
            predicted=microseconds(0, option.seconds),
            from_pool=option.from_pool,
        )


def fill_timings(request: CheckedRequest, out: pb.Timings, queued: float, finished: float) -> None:
    """Say where the time went, from when reading a request began until now."""
    out.encode = microseconds(request.began, request.encoded_at)
    queue = microseconds(0, queued)
    if queue:
        out.queue = queue
    out.compute = max(0, microseconds(request.encoded_at, finished) - queue)
    out.decode = microseconds(finished, time.perf_counter())


def fill_provenance(
    out: pb.Provenance, runtime: Runtime, teacher: bool, steps: int, seed: int
) -> None:
    """Say where rows come from."""
    manifest = runtime.release.manifest
    out.synthetic = True
    out.table = manifest.table
    out.version = manifest.version
    out.tier = pb.TIER_TEACHER if teacher else pb.TIER_STUDENT
    out.steps = steps
    out.seed = seed
    if manifest.epsilon is not None:
        out.epsilon = manifest.epsilon


def microseconds(since: float, until: float) -> int:
    """Between two moments in seconds."""
    return round((until - since) * 1e6)
