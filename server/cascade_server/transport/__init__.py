"""gRPC over HTTP/2 in the server's own event loop; see docs/adr/0007."""

from cascade_server.transport.http2.limits import Rate, TransportLimits
from cascade_server.transport.linger import LingerConfig
from cascade_server.transport.outcomes import Arrival, Outcome, Status
from cascade_server.transport.parts import Parts
from cascade_server.transport.peer import Peer, peer_of
from cascade_server.transport.rpc import Rpc
from cascade_server.transport.server import TransportServer, first_of
from cascade_server.transport.turns import Door, Grouped

__all__ = [
    "Arrival",
    "Door",
    "Grouped",
    "LingerConfig",
    "Outcome",
    "Parts",
    "Peer",
    "Rate",
    "Rpc",
    "Status",
    "TransportLimits",
    "TransportServer",
    "first_of",
    "peer_of",
]
