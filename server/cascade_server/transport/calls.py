"""The interface that a connection needs of its server; `TransportServer` provides it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import grpc

from cascade_server.transport.call import Call
from cascade_server.transport.http2.budgets import Held, Inflation
from cascade_server.transport.http2.headers import Head
from cascade_server.transport.http2.limits import TransportLimits
from cascade_server.transport.peer import Peer
from cascade_server.transport.rpc import Rpc

if TYPE_CHECKING:
    from cascade_server.transport.connection import Connection


# Called when a call has ended, with its path, its status, and the seconds that it took.
Over: TypeAlias = Callable[[str, grpc.StatusCode, float], None]


class Calls(Protocol):
    """The server, as its connections see it.

    Attributes:
        limits: bounds on what callers may use.
        limits_of: other limits of some methods, by path.
        held: counts the bytes held for all connections together.
        inflation: paces the inflating of messages.
        busy: number of connections with calls, without those that have identified no caller.
        over: called with each call that has ended; None: no callback.
    """

    limits: TransportLimits
    limits_of: Mapping[str, TransportLimits]
    held: Held
    inflation: Inflation
    busy: int
    over: Over | None

    def handler(self, path: str) -> Any:
        """Return the handler of a method; None: there is no such method."""

    def refuses(self, head: Head, connection: Connection) -> bytes | None:
        """Decide at a call's headers whether it is refused.

        Args:
            head: the call's headers.
            connection: its connection.

        Returns:
            The header block that ends the call; None: it may go on.
        """

    def came(self, rpc: Rpc) -> None:
        """Take a unary call that is complete, or a streaming one that has begun."""

    def refused(self, call: Call, code: grpc.StatusCode) -> None:
        """Count a call that ended before it reached a handler, through no fault of its caller."""

    def stranger(self, peer: Peer, why: str) -> None:
        """Log a connection that ends before it has spoken HTTP/2."""

    def gives_away(self, connection: int) -> bool:
        """Offer a new connection, by its file descriptor, to other processes.

        Returns:
            Whether one of them took it.
        """

    def opened(self, connection: Connection) -> None:
        """Take a new connection into the server's count.

        Raises:
            Broken: there are too many.
        """

    def closed(self, connection: Connection) -> None:
        """Take a connection that has ended out of the count."""

    def heard(self) -> None:
        """Note that a connection has read bytes, so that the event loop stays awake for more."""

    def has_time(self) -> bool:
        """Return whether this turn of the event loop has time left to parse newly read bytes."""

    def behind(self, connection: Connection) -> None:
        """Schedule `connection.catch_up`: it has more to parse than a turn allows."""
