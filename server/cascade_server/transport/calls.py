"""What a connection asks of the server that it belongs to."""

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


# Is told the path of a call that has ended, its status, and the seconds that it was there.
Over: TypeAlias = Callable[[str, grpc.StatusCode, float], None]


class Calls(Protocol):
    """Who is told of calls.

    Attributes:
        limits: of everything.
        limits_of: of methods that have others, by path.
        held: bytes that are kept for all connections together.
        inflation: paces the inflating of messages.
        busy: connections that have calls, but for those of strangers.
        over: is told how each call ended; None: nobody is.
    """

    limits: TransportLimits
    limits_of: Mapping[str, TransportLimits]
    held: Held
    inflation: Inflation
    busy: int
    over: Over | None

    def handler(self, path: str) -> Any:
        """Handles a method; None: nobody does."""

    def refuses(self, head: Head, connection: Connection) -> bytes | None:
        """The block that ends a call of which nothing but its head has come; None: it may go on.

        Args:
            head: of the call.
            connection: that it came on.
        """

    def came(self, rpc: Rpc) -> None:
        """A unary call has sent all; a streaming one has begun."""

    def refused(self, call: Call, code: grpc.StatusCode) -> None:
        """A call has been ended that nobody was told of, for no fault of its caller's."""

    def stranger(self, peer: Peer, why: str) -> None:
        """A connection ends before it has spoken HTTP/2."""

    def gives_away(self, connection: int) -> bool:
        """Whether a connection, by its file descriptor, is another process's now."""

    def opened(self, connection: Connection) -> None:
        """A connection has been made.

        Raises:
            Broken: there are too many.
        """

    def closed(self, connection: Connection) -> None:
        """A connection is no more."""

    def heard(self) -> None:
        """A connection has read what has come."""

    def has_time(self) -> bool:
        """Whether there is time left in this turn for what has just been read."""

    def behind(self, connection: Connection) -> None:
        """A connection has more to go through than a turn allows; its `work` is to be called."""
