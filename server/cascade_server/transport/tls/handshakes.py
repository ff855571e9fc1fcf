"""All handshakes of a process: how many there may be at once, how long each, and in which turn."""

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
    """Other processes, with whom connections are shared; see `placement.Placement`."""

    def gives_away(self, connection: int) -> bool:
        """Whether a new connection, by its file descriptor, is another's now."""

    def opened(self) -> None:
        """A connection is this process's, whatever becomes of its handshake."""

    def closed(self) -> None:
        """It is no more."""


class Handshakes:
    """The doorway of connections over TLS.

    A handshake takes the server about as long as some calls do, and a caller that does not know
    what it does may ask for thousands. So a few are gone on with in a turn of the event loop, and
    calls are answered in between. Beyond so many at once the one that has come first ends, and
    before it one that has said nothing at all.

    Args:
        credentials: what connections are made with.
        make: the protocol of a connection whose handshake is over.
        limits: how many, and how long.
        remarks: are told of what was none.
        sharing: those with whom connections are shared; None: nobody.
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
        # In the order in which they came.
        self._underway: dict[Secured, asyncio.TimerHandle] = {}
        self._due: deque[Secured] = deque()
        self._loop = asyncio.get_running_loop()
        self._none_left = asyncio.Event()
        self._none_left.set()

    def __len__(self) -> int:
        return len(self._underway)

    def connection(self, stays: bool = False) -> Secured:
        """The protocol of a connection that has just been taken."""
        return Secured(self, self._make, stays, self._clock)

    async def ended(self, seconds: float) -> None:
        """Wait until none is underway, for so long at most; end those that are after that."""
        try:
            await asyncio.wait_for(self._none_left.wait(), seconds)
        except TimeoutError:
            for each in list(self._underway):
                each.abort()

    # What connections say.

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
            # Whatever becomes of one, the others have their turn.
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
