"""Reads the headers that announce a `Synthesize` message; see `cascade_proto.headers`."""

from __future__ import annotations

from collections.abc import Sequence

from cascade_proto import headers as names

from cascade_server.terms import ServiceClass

TABLE, CLASS = names.TABLE.encode(), names.CLASS.encode()
CLASSES = {
    str(each).encode(): each
    for each in (ServiceClass.REALTIME, ServiceClass.FULL, ServiceClass.OFFLINE)
}


def announced(
    headers: Sequence[tuple[bytes, bytes]],
) -> tuple[str | None, ServiceClass | None]:
    """Return the table and the class that headers name; None: missing or unknown."""
    table = service = None
    for name, value in headers:
        if name == TABLE:
            table = value.decode("utf-8", "replace")
        elif name == CLASS:
            service = CLASSES.get(value)
    return table, service
