"""Our terms as the wire contract numbers them."""

from __future__ import annotations

from cascade_proto import synthesis_pb2 as pb

from cascade_server.terms import ServiceClass, Tier

TIERS = {Tier.STUDENT: pb.TIER_STUDENT, Tier.TEACHER: pb.TIER_TEACHER}

CLASSES = {
    ServiceClass.REALTIME: pb.CLASS_OF_SERVICE_REALTIME,
    ServiceClass.FULL: pb.CLASS_OF_SERVICE_FULL,
    ServiceClass.OFFLINE: pb.CLASS_OF_SERVICE_OFFLINE,
}
