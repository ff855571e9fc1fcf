"""The standard health protocol (grpc.health.v1), encoded by hand.

Its messages have one field each; encoding them here saves the client a dependency that only the
server needs.
"""

from __future__ import annotations

from collections.abc import Iterator

CHECK = "/grpc.health.v1.Health/Check"
LIST = "/grpc.health.v1.Health/List"

STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
SERVING = STATUSES[1]

# HealthCheckRequest without a service name, meaning the whole server; and HealthListRequest, which
# is empty.
WHOLE_SERVER = NOTHING = b""


def status(response: bytes) -> str:
    """Return the status in a serialised HealthCheckResponse: field 1, a varint; 0 is left out."""
    if not response:
        return STATUSES[0]
    number = response[1] if len(response) == 2 and response[0] == 0x08 else 0
    return STATUSES[number] if number < len(STATUSES) else STATUSES[0]


def statuses(response: bytes) -> dict[str, str]:
    """Return the statuses by service in a serialised HealthListResponse: field 1, a map.

    Raises:
        ValueError: the message is invalid.
    """
    found = {}
    for number, entry in _fields(response):
        if number == 1:
            pair = dict(_fields(entry))
            found[pair.get(1, b"").decode()] = status(pair.get(2, b""))
    return found


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and content of a message's fields that are messages or text."""
    place = 0
    while place < len(message):
        head, place = _varint(message, place)
        size, place = _varint(message, place)
        if head & 7 != 2 or place + size > len(message):
            raise ValueError("this is no answer of the health service")
        yield head >> 3, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """Return a varint, and the position after it."""
    value = shift = 0
    while place < len(message):
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    raise ValueError("this is no answer of the health service")
