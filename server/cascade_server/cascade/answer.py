"""What a request is answered with, as plain values, whoever drew them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from cascade_proto import synthesis_pb2 as pb
from cascade_tables import ABSENT, OutsideValues, WireRow
from numpy.typing import NDArray

from cascade_server.cascade.request import CheckedRequest
from cascade_server.cascade.router import Option, Route
from cascade_server.engines.runtime import Runtime, Tokens
from cascade_server.terms import Tier
from cascade_server.wire import rows as wire
from cascade_server.wire.rows import Values

# Columns by name, in the order in which they are returned; or `pb.Rows`, serialized.
AnsweredRows: TypeAlias = Mapping[str, Values] | bytes
# Up to so many draws of one row are written in compiled code; for more, arrays are as fast.
MOST_DRAWS_WRITTEN = 256
# A parameter of a response.
Told: TypeAlias = bool | int | float | str


class Drawn(NamedTuple):
    """What an engine made of a request.

    Attributes:
        tokens: int32 [total, T].
        option: who drew, in how many passes.
        route: why.
        log_likelihood: float64 [rows], where asked for.
        queued, finished: seconds waited in queues; when it was done (`time.perf_counter`).
    """

    tokens: Tokens
    option: Option
    route: Route
    log_likelihood: NDArray[np.float64] | None
    queued: float
    finished: float


@dataclass(slots=True)
class Answer:
    """Rows, and where they come from.

    Attributes:
        request: what was asked.
        tier, steps: who drew, in how many passes.
        rows: what is returned: values, or, where they lie ready as the wire has them, those bytes.
        finished: when the rows were there (`time.perf_counter`).
        queued: seconds waited in queues.
        route: why this tier, where that was asked for.
        reason: in place of the route's.
        log_likelihood: of each row of the request, where asked for.
        from_pool, cached: whether they were drawn ahead of time, or for an equal request.
        overtaken: whether another tier was waited for in vain before this one drew.
    """

    request: CheckedRequest
    tier: Tier
    steps: int
    rows: AnsweredRows
    finished: float
    queued: float = 0.0
    route: Route | None = None
    reason: str | None = None
    log_likelihood: Sequence[float] = ()
    from_pool: bool = False
    cached: bool = False
    overtaken: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether they were drawn for this request, by who was asked first."""
        return not (self.from_pool or self.cached or self.overtaken)

    @property
    def values(self) -> Mapping[str, Values]:
        """The columns, by name and in their order."""
        if isinstance(self.rows, bytes):
            return wire.read_rows(pb.Rows.FromString(self.rows), self.request.runtime.fields)
        return self.rows

    def provenance(self) -> dict[str, Told]:
        """Where the rows come from, as parameters of a response; see `Provenance` of the wire."""
        request = self.request
        out = provenance_of(request.runtime, self.tier, self.steps, request.seed)
        if self.from_pool:
            del out["seed"]
            out["from_pool"] = True
        if self.cached:
            out["cached"] = True
        if request.encoded.outside is not None:
            out["notices"] = "\n".join(request.encoded.notices)
            out["outside"] = outside_as_json(request.encoded.outside)
        if self.route is not None:
            out["reason"] = self.reason or self.route.reason
        return out


def outside_as_json(outside: OutsideValues) -> str:
    """Values that are outside of what was learnt, for who has no message for them."""
    named = [found._asdict() for found in outside.first]
    totals = [
        {"column": column, "kind": kind, "values": values}
        for (column, kind), values in outside.totals.items()
    ]
    return json.dumps({"values": named, "totals": totals}, ensure_ascii=False)


def provenance_of(runtime: Runtime, tier: Tier, steps: int, seed: int) -> dict[str, Told]:
    """What there is to say of rows that a tier has just drawn with a seed."""
    out: dict[str, Told] = {"synthetic": True, "tier": str(tier), "steps": steps, "seed": seed}
    if (epsilon := runtime.release.manifest.epsilon) is not None:
        out["epsilon"] = epsilon
    return out


def drawn_answer(request: CheckedRequest, drawn: Drawn) -> Answer:
    """The answer made of what an engine has drawn."""
    scored, route = drawn.log_likelihood, drawn.route
    return Answer(
        request,
        drawn.option.tier,
        drawn.option.steps,
        decoded(request, drawn.tokens),
        drawn.finished,
        drawn.queued,
        route if request.explain else None,
        log_likelihood=() if scored is None else scored.tolist(),
        overtaken=route.instead is not None,
    )


def decoded(request: CheckedRequest, tokens: Tokens) -> AnsweredRows:
    """The columns that are returned: drawn values where none were given, else the given ones."""
    codec, given = request.runtime.release.codec, request.given
    alone, inside = request.total == 1, request.inside_bins()
    if isinstance(given, WireRow) and request.total <= MOST_DRAWS_WRITTEN:
        written = (
            codec.write_row(tokens[0], inside, request.names, given)
            if alone
            else codec.write_draws(tokens, inside, request.names, given)
        )
        if written is not None:
            return written
    missing = request.names
    if given:
        missing = tuple(name for name in missing if name not in given or ABSENT in given[name])
    # One row, what a payment waits for, needs no arrays.
    cells = codec.decode_row(tokens[0].tolist(), inside, missing, given) if alone else {}
    drawn = {} if alone else codec.decode_columns(tokens, inside, missing, given)
    out: dict[str, Values] = {}
    for name in request.names:
        if name in cells:
            out[name] = [cells[name]]
            continue
        data = drawn.get(name)
        if data is None:
            out[name] = wire.given_values(given[name], codec.kinds[name], request.draws)
        elif name in given:
            out[name] = wire.keep_given(data, given[name], codec.kinds[name], request.draws)
        else:
            out[name] = data
    return out
