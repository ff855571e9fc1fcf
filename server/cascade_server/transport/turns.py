"""Dispatches calls to the `Grouped` of their method, or to a handler in a task.

A `Grouped` answers the calls of its method together, in turns of its own. Other calls get a task
each, a few in every turn of the event loop, so that a flood of them does not hold up the others.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from cascade_server.transport.http2.headers import Fields, Head
from cascade_server.transport.outcomes import Arrival, Status, refusal_block
from cascade_server.transport.peer import Peer
from cascade_server.transport.rpc import Rpc

# Handlers' tasks that are started in one turn of the event loop.
ALONE_A_TURN = 4


class Grouped(Protocol):
    """Answers the unary calls of a method together, in turns of its own."""

    def admit(
        self, arrived: float, deadline: float, headers: Fields, crowd: int, peer: Peer
    ) -> Status | None:
        """Decide at a call's headers whether it may wait for its turn.

        Args:
            arrived, deadline: monotonic seconds; infinite if there is no deadline.
            headers: as `Head.headers`.
            crowd: the number of calls, including this one, if every busy connection had as many
                as this call's connection. With it, a caller that floods the server does not keep
                out callers with few calls.
            peer: the other end of the call's connection, and the names in its certificate.

        Returns:
            The status that refuses the call; None: it may wait.
        """

    def came(self, arrival: Arrival) -> None:
        """Take a complete call, which is opened in its turn.

        `Arrival.ends`, or the work passed to `Arrival.start`, ends it.
        """


class Door(Protocol):
    """Decides at a call's headers whether its caller may make it."""

    def refuses(self, path: str, headers: Fields, peer: Peer) -> Status | None:
        """Return the status that refuses a call; None: its caller may make it.

        The status contains no text from the caller, so that it can be cached.

        Args:
            path: the called method, which need not exist.
            headers: as `Head.headers`.
            peer: the other end of its connection.
        """

    def knows(self, headers: Fields, peer: Peer) -> bool:
        """Return whether a call identifies its caller, even if its method is open to anybody.

        Args:
            headers: as `Head.headers`.
            peer: the other end of its connection.
        """

    def gone(self, peer: Peer) -> None:
        """Note that a connection has ended."""


class CallTurns:
    """Dispatches calls to their `Grouped`, or starts their handlers, a few per turn.

    Args:
        grouped: groups that answer the calls of a method together, by the method's path.
        soon: calls a function once the event loop has read from all sockets.
        clock: monotonic seconds.
        door: decides whether callers may make calls; None: anybody may.
    """

    def __init__(
        self,
        grouped: Mapping[str, Grouped],
        soon: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
        door: Door | None = None,
    ) -> None:
        self._grouped = dict(grouped)
        self._door = door
        self._alone: deque[Rpc] = deque()
        self._soon, self._clock = soon, clock
        self._is_due = False

    def refuses(self, head: Head, crowd: int, peer: Peer) -> bytes | None:
        """Return the block that refuses a call at its headers; None: it may wait for its turn.

        Deciding before the message is read lets an overloaded server refuse nearly ten calls in the
        time that it takes to answer one.
        """
        if self._door is not None:
            # Checked before the gate, which counts its refusals as a lack of room.
            status = self._door.refuses(head.path, head.headers, peer)
            if status is not None:
                return refusal_block(status)
        taker = self._grouped.get(head.path)
        if taker is None:
            return None
        arrived = self._clock()
        deadline = math.inf if head.timeout is None else arrived + head.timeout
        refused = taker.admit(arrived, deadline, head.headers, crowd, peer)
        return None if refused is None else refusal_block(refused)

    def came(self, rpc: Rpc) -> None:
        """Take a unary call that is complete, or a streaming one that has begun."""
        taker = self._grouped.get(rpc.head.path)
        if taker is not None:
            taker.came(rpc)
            return
        self._alone.append(rpc)
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._soon(self._turn)

    def _turn(self) -> None:
        """Start the handlers of a few calls, and schedule the next turn if more wait."""
        self._is_due = False
        for _ in range(min(ALONE_A_TURN, len(self._alone))):
            rpc = self._alone.popleft()
            if rpc.ended:  # its caller has hung up
                continue
            if rpc.is_unary and rpc.paused:
                self._alone.append(rpc)
            elif rpc.open():
                rpc.start()
        if self._alone:
            self._schedule()
