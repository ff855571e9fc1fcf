"""Calls that the transport ends before any service is told of them, counted all the same."""

from __future__ import annotations

import grpc
from cascade_proto import inference_pb2, synthesis_pb2

from cascade_server.access.access import Access
from cascade_server.access.grants import priority_of
from cascade_server.counts.sla import Sla
from cascade_server.terms import Priority, ServiceClass
from cascade_server.transport import Peer
from cascade_server.transport.http2.headers import Head
from cascade_server.wire.announced import announced

SYNTHESIS = synthesis_pb2.DESCRIPTOR.services_by_name["Synthesis"].full_name
INFERENCE = inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
# What a call counts as by its path alone; those of other paths are in no objective. Of a stream it
# is the requests that are counted.
COUNTED = {
    f"/{SYNTHESIS}/Synthesize": ServiceClass.REALTIME,
    f"/{SYNTHESIS}/Generate": ServiceClass.OFFLINE,
    f"/{INFERENCE}/ModelInfer": ServiceClass.REALTIME,
}


class UnreadCalls:
    """Counts them; see `RecentlyAsked` for whose they are.

    Args:
        sla: where calls are counted.
        access: knows who has sent a call, and whether that lets others go first; None: all are
            alike.
    """

    def __init__(self, sla: Sla, access: Access | None = None) -> None:
        self._sla, self._access = sla, access

    def refused(
        self, head: Head, arrived: float, deadline: float, code: grpc.StatusCode, peer: Peer
    ) -> None:
        """A call has been ended for no fault of its caller's; as `TransportServer` tells it."""
        service, access = COUNTED.get(head.path), self._access
        if service is not None:
            call = self._sla.call(service, arrived)
            if access is not None:
                asks = access.caller(head.headers, peer.certificate_names)
                if priority_of(asks) is Priority.OFFLINE:
                    call.yields()
            call.announces(*announced(head.headers), deadline)
            call.ends(code)
