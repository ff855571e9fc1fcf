"""Conversion of provenance messages."""

from __future__ import annotations

from cascade_proto import synthesis_pb2 as pb

from cascade_client.values.provenance import (
    OUTSIDE_KINDS,
    TIERS,
    Considered,
    OutsideKind,
    OutsideTotal,
    OutsideValue,
    Provenance,
    Routing,
    Tier,
    Timings,
)


def provenance(message: pb.Provenance) -> Provenance:
    """Convert the message to a value; times are in seconds."""
    times = message.timings
    return Provenance(
        synthetic=message.synthetic,
        table=message.table,
        version=message.version,
        tier=TIERS.get(message.tier, Tier.UNKNOWN),
        steps=message.steps,
        seed=message.seed,
        from_pool=message.from_pool,
        epsilon=message.epsilon if message.HasField("epsilon") else None,
        timings=Timings(
            times.encode / 1e6, times.queue / 1e6, times.compute / 1e6, times.decode / 1e6
        ),
        notices=tuple(message.notices),
        routing=_routing(message.routing) if message.HasField("routing") else None,
        cached=message.cached,
        outside_values=tuple(
            OutsideValue(
                each.column,
                each.row,
                OUTSIDE_KINDS.get(each.kind, OutsideKind.UNKNOWN),
                each.conditioned_on if each.HasField("conditioned_on") else None,
            )
            for each in message.outside_values
        ),
        outside_totals=tuple(
            OutsideTotal(
                each.column, OUTSIDE_KINDS.get(each.kind, OutsideKind.UNKNOWN), each.values
            )
            for each in message.outside_totals
        ),
    )


def _routing(message: pb.Routing) -> Routing:
    return Routing(
        reason=message.reason,
        considered=tuple(
            Considered(
                TIERS.get(each.tier, Tier.UNKNOWN),
                each.steps,
                each.predicted / 1e6,
                each.from_pool,
            )
            for each in message.considered
        ),
    )
