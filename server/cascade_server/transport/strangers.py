"""Connections that have shown nobody, and what they may hold while others want in.

Where callers are asked who they are, some methods are still for anybody: probes have no key. Who
calls nothing else is a stranger, and a watch of a server's health has no end. So what strangers do
keeps no place that somebody who is known wants: of the connections there may be they are the first
to end, however busy, and from one address there are only so many.
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

# Calls that a connection may have at once of methods that anybody may call: who watches a server's
# health does so once for each of its names that it cares for.
OPEN_CALLS = 16
# Strangers of one address may have a part of all connections, and these at least: who is known
# comes as a stranger too, and many who come together may come through one proxy.
SHARE, FEWEST = 4, 16
# Of an address of version 6: what a network is given, which anybody in it may have addresses of.
NETWORK_BYTES = 8
TOO_MANY = refusal_block(
    Status(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"a connection may have {OPEN_CALLS} calls at once that do not ask who sends them",
    )
)


def source_of(host: str) -> str:
    """Who is told apart from whom by where they come from.

    Args:
        host: an address, of version 6 with or without a zone.
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
    """The connections of which no call has been let in that shows who sends it.

    Args:
        door: decides who may ask.
        open_to_all: methods that anybody may call, by path.
        connections: that there may be of everybody.
    """

    def __init__(self, door: Door, open_to_all: Collection[str], connections: int) -> None:
        self._door, self._open = door, frozenset(open_to_all)
        self._most = max(FEWEST, connections // SHARE)
        # Dictionaries keep the order in which they came.
        self._all: dict[Connection, str] = {}
        self._by_source: dict[str, dict[Connection, None]] = {}

    def oldest(self) -> Connection | None:
        """The one that has been a stranger for longest; None: there is none."""
        return next(iter(self._all), None)

    def in_excess(self, host: str) -> Connection | None:
        """The one that is to end before another comes from an address; None: there may be more."""
        others = self._by_source.get(source_of(host), {})
        return next(iter(others)) if len(others) >= self._most else None

    def came(self, connection: Connection) -> None:
        """A connection has been made, and has shown nobody yet."""
        source = source_of(connection.peer.host)
        self._all[connection] = source
        self._by_source.setdefault(source, {})[connection] = None
        connection.is_stranger = True

    def gone(self, connection: Connection) -> None:
        """A connection is a stranger's no more, or is no more."""
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
        """How a call ends of which its connection has too many; None: it goes on.

        Args:
            head: of a call that the door has let in.
            connection: its.
        """
        if head.path not in self._open:
            if connection.is_stranger:
                self._is_known(connection)
            return None
        if connection.is_stranger and self._door.knows(head.headers, connection.peer):
            self._is_known(connection)
        if len(connection.rpcs) < OPEN_CALLS:
            return None
        # Who carries the calls of others, as a proxy does, has many beside these.
        many = sum(each.head.path in self._open for each in connection.rpcs.values())
        return TOO_MANY if many >= OPEN_CALLS else None
