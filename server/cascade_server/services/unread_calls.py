"""Counts calls that the transport refuses before a service sees them, such as for lack of room."""

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
# The class that a call counts for, by its path. Calls of other paths belong to no objective; for a
# stream, the requests are counted instead of the call.
COUNTED = {
    f"/{SYNTHESIS}/Synthesize": ServiceClass.REALTIME,
    f"/{SYNTHESIS}/Generate": ServiceClass.OFFLINE,
    f"/{INFERENCE}/ModelInfer": ServiceClass.REALTIME,
}


class UnreadCalls:
    """Counts calls that end unread; `RecentlyAsked` guesses the table if the headers name none.

    Args:
        sla: counts the calls.
        access: identifies callers, whose priority decides the class; None: no priorities.
    """

    def __init__(self, sla: Sla, access: Access | None = None) -> None:
        self._sla, self._access = sla, access

    def refused(
        self, head: Head, arrived: float, deadline: float, code: grpc.StatusCode, peer: Peer
    ) -> None:
        """Count a call that was refused through no fault of its caller; a `transport.Refusing`.

        Args:
            head: the call's headers.
            arrived, deadline: monotonic seconds; infinite: it has no deadline.
            code: the status that the call ended with.
            peer: the other end of the call's connection.
        """
        service, access = COUNTED.get(head.path), self._access
        if service is not None:
            call = self._sla.call(service, arrived)
            if access is not None:
                identity = access.caller(head.headers, peer.certificate_names)
                if priority_of(identity) is Priority.OFFLINE:
                    call.yields()
            call.announces(*announced(head.headers), deadline)
            call.ends(code)
