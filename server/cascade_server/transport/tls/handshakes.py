"""Schedules and limits the TLS handshakes of a process."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from cascade_server.transport.http2.limits import TransportLimits
from cascade_server.transport.tls.credentials import Credentials
from cascade_server.transport.tls.remarks import Remarks
from cascade_server.transport.tls.secured import Secured
from cascade_server.transport.tls.validity import has_ended


class Others(Protocol):
    """Other processes that connections are shared with; see `placement.Placement`."""

    def gives_away(self, connection: int) -> bool:
        """Offer a connection, by its descriptor, to other processes; True: one took it."""

    def opened(self) -> None:
        """Count a connection of this process, whatever the result of its handshake."""

    def closed(self) -> None:
        """Stop counting a connection that has closed."""


class Handshakes:
    """Creates connections over TLS, and gives their handshakes turns.

    A handshake costs the server about as much as some calls, and a misbehaving client may start
    thousands. So only a few advance in one turn of the event loop, and calls are answered in
    between. If there are too many at once, the oldest ends; silent ones end before it.

    Args:
        credentials: the server's certificate.
        make: creates the protocol of a connection after its handshake.
        limits: the limits of number and time.
        remarks: logs failed connections.
        sharing: the processes that connections are shared with; None: none.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        credentials: Credentials,
        make: Callable[[], asyncio.Protocol],
        limits: TransportLimits,
        remarks: Remarks,
        sharing: Others | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials, self._make, self._limits = credentials, make, limits
        self._remarks, self._sharing, self._clock = remarks, sharing, clock
        # In order of arrival.
        self._underway: dict[Secured, asyncio.TimerHandle] = {}
        self._due: deque[Secured] = deque()
        self._loop = asyncio.get_running_loop()
        self._none_left = asyncio.Event()
        self._none_left.set()

    def __len__(self) -> int:
        return len(self._underway)

    def connection(self, stays: bool = False) -> Secured:
        """Create the protocol of a newly accepted connection."""
        return Secured(self, self._make, stays, self._clock)

    async def ended(self, seconds: float) -> None:
        """Wait up to `seconds` until no handshake is in progress; then end the rest."""
        try:
            await asyncio.wait_for(self._none_left.wait(), seconds)
        except TimeoutError:
            for each in list(self._underway):
                each.abort()

    # Called by connections.

    def context(self) -> ssl.SSLContext:
        return self._credentials.context

    def gives_away(self, connection: int) -> bool:
        return self._sharing is not None and self._sharing.gives_away(connection)

    def has_ended(self, certificate: Mapping[str, Any] | None) -> bool:
        return has_ended(certificate, self._credentials.now())

    def begins(self, connection: Secured) -> None:
        if self._sharing is not None:
            self._sharing.opened()
        if len(self._underway) >= self._limits.handshakes:
            self._make_room()
        seconds = self._limits.handshake_seconds
        late = partial(connection.refuse, f"no handshake within {seconds:g} s")
        self._underway[connection] = self._loop.call_later(seconds, late)
        self._none_left.clear()

    def _make_room(self) -> None:
        silent = (each for each in self._underway if each.is_silent)
        first = next(silent, None) or next(iter(self._underway))
        self._leave(first)
        first.refuse("others wanted to come in, and it was slow")

    def has_more(self, connection: Secured) -> None:
        if connection not in self._due:
            self._due.append(connection)
            if len(self._due) == 1:
                self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        try:
            for _ in range(min(self._limits.handshakes_a_turn, len(self._due))):
                self._due.popleft().step()
        finally:
            # If one fails, the others still get their turn.
            if self._due:
                self._loop.call_soon(self._turn)

    def agreed(self, connection: Secured) -> None:
        self._leave(connection)

    def gone(self, connection: Secured) -> None:
        self._leave(connection)
        if self._sharing is not None:
            self._sharing.closed()

    def _leave(self, connection: Secured) -> None:
        timer = self._underway.pop(connection, None)
        if timer is not None:
            timer.cancel()
        if not self._underway:
            self._none_left.set()

    def refused(self, address: str, why: str) -> None:
        self._remarks.refused(address, why)
