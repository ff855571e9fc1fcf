"""The standard health protocol (grpc.health.v1), spoken by hand.

Its two messages have one field each; speaking them here spares the client a dependency that only
the server needs.
"""

from __future__ import annotations

CHECK = "/grpc.health.v1.Health/Check"

STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")

# HealthCheckRequest with no service named: the whole server.
WHOLE_SERVER = b""


def status(response: bytes) -> str:
    """The status named by a serialised HealthCheckResponse: field 1, a varint; 0 is left out."""
    if not response:
        return STATUSES[0]
    number = response[1] if len(response) == 2 and response[0] == 0x08 else 0
    return STATUSES[number] if number < len(STATUSES) else STATUSES[0]
