"""The answer to a request as plain values, independent of its tier and protocol."""

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

# Columns by name, in the order in which they are returned; or a serialized `pb.Rows`.
AnsweredRows: TypeAlias = Mapping[str, Values] | bytes
# Up to this many draws of one row are written in compiled code; for more, arrays are as fast.
MOST_DRAWS_WRITTEN = 256
# The value of a response's parameter.
ParameterValue: TypeAlias = bool | int | float | str


class Drawn(NamedTuple):
    """The tokens that an engine has drawn for a request, not decoded yet.

    Attributes:
        tokens: int32 [total, T].
        option: the tier that drew, and its passes.
        route: how that tier was chosen.
        log_likelihood: float64 [rows] in nats; None: not requested.
        queued: seconds that it waited in queues.
        finished: when it was done (`time.perf_counter`).
    """

    tokens: Tokens
    option: Option
    route: Route
    log_likelihood: NDArray[np.float64] | None
    queued: float
    finished: float


@dataclass(slots=True)
class Answer:
    """Rows and their provenance.

    Attributes:
        request: the request.
        tier: the model that drew.
        steps: network passes that it made.
        rows: the returned columns, or their serialized message if compiled code wrote it.
        finished: when the rows were drawn (`time.perf_counter`).
        queued: seconds that the request waited in queues.
        route: how the tier was chosen; None: the request did not ask for an explanation.
        reason: replaces the route's own reason; None: the route's.
        log_likelihood: one value per row of the request, in nats; empty if not requested.
        from_pool: whether the rows were drawn ahead of time.
        cached: whether the rows were drawn for an equal request.
        overtaken: whether the student drew after a wait for the teacher had failed.
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
        """Whether the rows were drawn for this request by the tier that was first chosen."""
        return not (self.from_pool or self.cached or self.overtaken)

    @property
    def values(self) -> Mapping[str, Values]:
        """The returned columns by name, in their order; parsed if they are held serialized."""
        if isinstance(self.rows, bytes):
            return wire.read_rows(pb.Rows.FromString(self.rows), self.request.runtime.fields)
        return self.rows

    def provenance(self) -> dict[str, ParameterValue]:
        """Return the provenance as parameters of a response; see the message `Provenance`."""
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
    """Format values that were never learnt, for protocols without a message for them."""
    named = [found._asdict() for found in outside.first]
    totals = [
        {"column": column, "kind": kind, "values": values}
        for (column, kind), values in outside.totals.items()
    ]
    return json.dumps({"values": named, "totals": totals}, ensure_ascii=False)


def provenance_of(runtime: Runtime, tier: Tier, steps: int, seed: int) -> dict[str, ParameterValue]:
    """Return the parameters of a response that say how its rows were drawn."""
    out: dict[str, ParameterValue] = {
        "synthetic": True,
        "tier": str(tier),
        "steps": steps,
        "seed": seed,
    }
    if (epsilon := runtime.release.manifest.epsilon) is not None:
        out["epsilon"] = epsilon
    return out


def drawn_answer(request: CheckedRequest, drawn: Drawn) -> Answer:
    """Decode the tokens that an engine has drawn."""
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
        overtaken=route.stand_in_reason is not None,
    )


def decoded(request: CheckedRequest, tokens: Tokens) -> AnsweredRows:
    """Return the columns to send: the caller's values where given, else the drawn ones.

    Args:
        request: the request.
        tokens: the drawn tokens, int32 [total, T].
    """
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
    # A single row, the most frequent request, is decoded without arrays.
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
