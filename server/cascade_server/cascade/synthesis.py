"""One `Synthesize` or one chunk of `Generate`, from message to message; no asyncio here."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.cells import ABSENT_STATE, FIELDS
from cascade_tables import Encoded
from numpy.typing import NDArray

from cascade_server.cascade.router import Option, Route
from cascade_server.deadline import Work
from cascade_server.engines.noise import new_seed, stream
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import BadRequest
from cascade_server.terms import ServiceClass, Tier, Wanted
from cascade_server.wire import rows as wire

WANTED = {
    pb.FIDELITY_AUTO: Wanted.AUTO,
    pb.FIDELITY_FAST: Wanted.FAST,
    pb.FIDELITY_FULL: Wanted.FULL,
}


def class_of(request: pb.SynthesizeRequest) -> ServiceClass:
    """What was asked for, as objectives know it."""
    full = request.fidelity == pb.FIDELITY_FULL or request.log_likelihood
    return ServiceClass.FULL if full else ServiceClass.REALTIME


def counted_as(
    request: pb.SynthesizeRequest, deadline: float
) -> tuple[str, ServiceClass, float, int, int]:
    """What `counts.calls.Call.asks` is told of a request that is to be answered by `deadline`.

    Nothing has been checked yet: its rows may be more than are allowed.
    """
    rows = request.rows.count * (request.draws or 1)
    return request.table, class_of(request), deadline, rows, request.timeout_microseconds


def microseconds(since: float, until: float) -> int:
    return round((until - since) * 1e6)


@dataclass
class Plan:
    """A checked `SynthesizeRequest`: what to draw.

    Attributes:
        sent: the request's columns.
        given: their values by name.
        rows: rows of the request, n.
        seeded: whether the caller named the seed.
        offline: nobody waits for it: it yields to those that somebody waits for.
        rng: `stream` of the seed, made when something is drawn from it.
        total: n x draws.
    """

    runtime: Runtime
    work: Work
    names: tuple[str, ...]
    sent: Iterable[pb.Column]
    given: dict[str, list[Any]]
    encoded: Encoded
    rows: int
    draws: int
    seed: int
    seeded: bool
    wanted: Wanted
    log_likelihood: bool
    explain: bool
    began: float
    encoded_at: float
    offline: bool = False

    @property
    def total(self) -> int:
        return self.rows * self.draws

    @property
    def version(self) -> int:
        """Of the release that is to answer."""
        return self.runtime.version

    @cached_property
    def rng(self) -> np.random.Generator:
        return stream(self.seed)

    def completed(self) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Tokens and what is known of them, a row a draw: [total, T]."""
        tokens, observed = self.encoded.tokens, self.encoded.observed
        if self.draws == 1:
            return tokens, observed
        return tokens.repeat(self.draws, axis=0), observed.repeat(self.draws, axis=0)


def plan(
    request: pb.SynthesizeRequest,
    runtime: Runtime,
    work: Work,
    max_rows: int,
    offline: bool = False,
) -> Plan:
    """Check a request and encode what it gives.

    Raises:
        BadRequest, UnknownColumn, ValueNotAllowed: names what is wrong and what is allowed.
        DeadlinePassed: it came too late.
    """
    began = time.perf_counter()
    work.check()
    rows = request.rows.count
    draws = request.draws if request.HasField("draws") else 1
    if rows < 1:
        raise BadRequest("rows.count is 0; at least 1 row is needed")
    if not 1 <= draws <= max_rows // rows:
        allowed = f"1 to {max_rows // rows:,}" if rows <= max_rows else "none: too many rows"
        raise BadRequest(
            f"draws is {draws:,} for {rows:,} row{'s' * (rows > 1)}; allowed draws: {allowed} "
            f"(rows x draws is at most {max_rows:,})"
        )
    if request.fidelity not in WANTED:
        raise BadRequest(
            f"fidelity is {request.fidelity}; allowed: {', '.join(pb.Fidelity.keys())}"
        )
    names = wire.check_names(runtime.release.codec.schema, request.columns)
    given = wire.read_rows(request.rows, runtime.fields)
    encoded = runtime.release.codec.encode_partial(given, rows)
    seeded = request.HasField("seed")
    return Plan(
        runtime=runtime,
        work=work,
        names=names,
        sent=request.rows.columns,
        given=given,
        encoded=encoded,
        rows=rows,
        draws=draws,
        seed=request.seed if seeded else new_seed(),
        seeded=seeded,
        wanted=WANTED[request.fidelity],
        log_likelihood=request.log_likelihood,
        explain=request.explain,
        began=began,
        encoded_at=time.perf_counter(),
        offline=offline,
    )


class Drawn(NamedTuple):
    """What an engine made of a plan.

    Attributes:
        tokens: int32 [total, T].
        option: who drew, in how many passes.
        route: why.
        log_likelihood: float64 [rows], where asked for.
        queued, finished: seconds waited in queues; when it was done (`time.perf_counter`).
    """

    tokens: NDArray[np.int32]
    option: Option
    route: Route
    log_likelihood: NDArray[np.float64] | None
    queued: float
    finished: float


def pack(
    job: Plan, drawn: Drawn, into: pb.SynthesizeResponse | None = None
) -> pb.SynthesizeResponse:
    """The answer: rows decoded, and where they come from; `into` an empty message or a new one."""
    response = pb.SynthesizeResponse() if into is None else into
    if drawn.log_likelihood is not None:
        response.log_likelihood.extend(drawn.log_likelihood.tolist())
    pack_rows(job, drawn.tokens, response.rows)
    provenance = response.provenance
    teacher = drawn.option.tier is Tier.TEACHER
    fill_provenance(provenance, job.runtime, teacher, drawn.option.steps, job.seed)
    provenance.notices.extend(job.encoded.notices)
    if job.explain:
        explain(drawn.route, provenance.routing)
    fill_timings(job, provenance.timings, drawn.queued, drawn.finished)
    return response


def explain(route: Route, out: pb.Routing) -> None:
    """Say why a tier answered."""
    out.Clear()
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


def fill_timings(job: Plan, out: pb.Timings, queued: float, finished: float) -> None:
    """Say where the time went, from the arrival of a plan until now."""
    out.encode = microseconds(job.began, job.encoded_at)
    out.queue = microseconds(0, queued)
    out.compute = max(0, microseconds(job.encoded_at, finished) - out.queue)
    out.decode = microseconds(finished, time.perf_counter())


def pack_rows(job: Plan, tokens: NDArray[np.int32], out: pb.Rows) -> None:
    """Decode the columns that were drawn, and return the given ones as they were given."""
    codec = job.runtime.release.codec
    sent_by_name: dict[str, pb.Column] = {}
    if not job.given.keys().isdisjoint(job.names):
        sent_by_name = {column.name: column for column in job.sent}
    missing = [
        name
        for name in job.names
        if name not in sent_by_name or ABSENT_STATE in sent_by_name[name].states
    ]
    # One row, what a payment waits for, needs no arrays.
    alone = job.total == 1
    cells = codec.decode_row(tokens[0].tolist(), job.rng, missing) if alone else {}
    drawn = {} if alone else codec.decode_columns(tokens, job.rng, missing)
    out.count = len(tokens)
    for name in job.names:
        kind = codec.kinds[name]
        if name in cells:
            wire.write_cell(out.columns.add(name=name), kind, cells[name])
            continue
        data = drawn.get(name)
        if data is None:
            sent = sent_by_name[name]
            if job.draws == 1 and sent.WhichOneof("values") == FIELDS[kind]:
                out.columns.append(sent)
                continue
            data = wire.given_column(job.given[name], kind, job.draws)
        elif name in job.given:
            data = wire.keep_given(data, job.given[name], kind, job.draws)
        wire.write_column(out.columns.add(name=name), kind, data)


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
