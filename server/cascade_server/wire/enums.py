"""Maps the server's terms to the enums of the protocol."""

from __future__ import annotations

from collections.abc import Mapping

from cascade_proto import synthesis_pb2 as pb
from cascade_tables import OutsideKind

from cascade_server.terms import ServiceClass, Tier

TIERS = {Tier.STUDENT: pb.TIER_STUDENT, Tier.TEACHER: pb.TIER_TEACHER}

# Refused values never appear in an answer.
OUTSIDE_KINDS: Mapping[OutsideKind, pb.OutsideKind.ValueType] = {
    kind: pb.OutsideKind.Value(f"OUTSIDE_KIND_{kind.name}")
    for kind in OutsideKind
    if kind is not OutsideKind.WRONG
}

CLASSES = {
    ServiceClass.REALTIME: pb.CLASS_OF_SERVICE_REALTIME,
    ServiceClass.FULL: pb.CLASS_OF_SERVICE_FULL,
    ServiceClass.OFFLINE: pb.CLASS_OF_SERVICE_OFFLINE,
}
