"""Limits connections that have not identified a caller, to keep room for those that have.

Even if the server requires identification, some methods are open to anybody: probes have no key. A
connection that calls nothing else is a stranger, and its calls may last forever, such as a watch
of the server's health. Strangers must not take the place of identified callers: if connections run
out, strangers are closed first, however busy, and one address may have only a few of them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import TYPE_CHECKING

import grpc

from cascade_server.transport.http2.headers import Head
from cascade_server.transport.outcomes import Status, refusal_block
from cascade_server.transport.turns import Door

if TYPE_CHECKING:
    from cascade_server.transport.connection import Connection

# Simultaneous calls of methods open to anybody that a connection may have: a health watcher makes
# one for each service name that it watches.
OPEN_CALLS = 16
# Strangers of one address may have 1 / SHARE of all connections, but at least FEWEST: every caller
# begins as a stranger, and many callers may connect through one proxy.
SHARE, FEWEST = 4, 16
# The network prefix of an IPv6 address: anybody in a network may have any address in it.
NETWORK_BYTES = 8
TOO_MANY = refusal_block(
    Status(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"a connection may have {OPEN_CALLS} calls at once that do not ask who sends them",
    )
)


def source_of(host: str) -> str:
    """Return the part of an address that tells strangers apart.

    Args:
        host: an IP address; an IPv6 address may have a zone.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    mapped = address.ipv4_mapped
    return address.packed[:NETWORK_BYTES].hex() if mapped is None else str(mapped)


class Strangers:
    """The connections without an accepted call that identified its caller.

    Args:
        door: decides who may call.
        open_to_all: paths of methods that anybody may call.
        connections: most connections of all kinds.
    """

    def __init__(self, door: Door, open_to_all: Collection[str], connections: int) -> None:
        self._door, self._open = door, frozenset(open_to_all)
        self._most = max(FEWEST, connections // SHARE)
        # A dictionary keeps the order of arrival.
        self._all: dict[Connection, str] = {}
        self._by_source: dict[str, dict[Connection, None]] = {}

    def oldest(self) -> Connection | None:
        """Return the connection that has been a stranger for longest; None: there is none."""
        return next(iter(self._all), None)

    def in_excess(self, host: str) -> Connection | None:
        """Return the stranger to close before an address adds another; None: it may have more."""
        others = self._by_source.get(source_of(host), {})
        return next(iter(others)) if len(others) >= self._most else None

    def came(self, connection: Connection) -> None:
        """Add a new connection, which has not identified a caller yet."""
        source = source_of(connection.peer.host)
        self._all[connection] = source
        self._by_source.setdefault(source, {})[connection] = None
        connection.is_stranger = True

    def gone(self, connection: Connection) -> None:
        """Remove a connection that has identified a caller or has closed."""
        source = self._all.pop(connection, None)
        if source is not None:
            others = self._by_source[source]
            del others[connection]
            if not others:
                del self._by_source[source]

    def _is_known(self, connection: Connection) -> None:
        self.gone(connection)
        connection.introduced()

    def refuses(self, head: Head, connection: Connection) -> bytes | None:
        """Return the block that ends a call if its connection has too many; None: it may go on.

        Args:
            head: the headers of a call that the door has accepted.
            connection: the call's connection.
        """
        if head.path not in self._open:
            if connection.is_stranger:
                self._is_known(connection)
            return None
        if connection.is_stranger and self._door.knows(head.headers, connection.peer):
            self._is_known(connection)
        if len(connection.rpcs) < OPEN_CALLS:
            return None
        # Only these methods count: a proxy carries many other calls.
        many = sum(each.head.path in self._open for each in connection.rpcs.values())
        return TOO_MANY if many >= OPEN_CALLS else None
