"""gRPC over HTTP/2 in the server's own event loop; see docs/adr/0007."""

from cascade_server.transport.linger import LingerConfig
from cascade_server.transport.rpc import Arrival, Outcome, Rpc, Status
from cascade_server.transport.server import Grouped, TransportServer, first_of

__all__ = [
    "Arrival",
    "Grouped",
    "LingerConfig",
    "Outcome",
    "Rpc",
    "Status",
    "TransportServer",
    "first_of",
]
