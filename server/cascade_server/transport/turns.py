"""Who takes a call that has come: those who answer calls of a method together, in turns of their
own, or its handler, and never all that have come at once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from cascade_server.transport.http2.headers import Fields, Head
from cascade_server.transport.outcomes import Arrival, Status, refusal_block
from cascade_server.transport.peer import Peer
from cascade_server.transport.rpc import Rpc

# Calls that handlers begin with in a turn of the event loop.
ALONE_A_TURN = 4


class Grouped(Protocol):
    """Takes the unary calls of a method as they come, to answer them in turns of its own."""

    def admit(
        self, arrived: float, deadline: float, headers: Fields, crowd: int, peer: Peer
    ) -> Status | None:
        """Whether a call of which only the head has come may wait for its turn; else how it ends.

        Args:
            arrived, deadline: monotonic seconds; infinite where there is no deadline.
            headers: as `Head.headers`.
            crowd: calls that there would be, this one among them, if every connection that has any
                had as many as its own: who asks for little is not to be kept out by who floods.
            peer: the other end of its connection, and whom its certificate names.
        """

    def came(self, arrival: Arrival) -> None:
        """A call has sent all. It is opened in its turn, and ended by `Arrival.ends`, or by what
        `Arrival.start` is given."""


class Door(Protocol):
    """Decides who may ask, of any method, before there is anything of a call but its head."""

    def refuses(self, path: str, headers: Fields, peer: Peer) -> Status | None:
        """How a call ends that its caller may not make; None: it may. The status holds nothing of
        what the caller has sent.

        Args:
            path: of the method, whether or not there is one.
            headers: as `Head.headers`.
            peer: the other end of its connection.
        """

    def knows(self, headers: Fields, peer: Peer) -> bool:
        """Whether a call shows who sends it, of a method that anybody may call.

        Args:
            headers: as `Head.headers`.
            peer: the other end of its connection.
        """

    def gone(self, peer: Peer) -> None:
        """A connection is no more."""


class CallTurns:
    """Hands calls over, and begins those that have a handler of their own in their turn.

    Args:
        grouped: who takes the calls of a method together; by path.
        door: decides who may ask; None: anybody may.
        soon: has something called once all that the system has for us now is read.
        clock: monotonic seconds.
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
        """How a call ends that may not wait for its turn; None: it may. See `Grouped.admit`.

        That is decided before there is anything of it but its head: a server that has too much to
        do can refuse nearly ten calls in the time that one takes to be answered.
        """
        if self._door is not None:
            # Before anything is asked of the gate: who is not let in takes no part in its count.
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
        """A unary call has sent all; a streaming one has begun."""
        taker = self._grouped.get(rpc.head.path)
        if taker is not None:
            taker.came(rpc)
            return
        self._alone.append(rpc)
        self._come_round()

    def _come_round(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._soon(self._turn)

    def _turn(self) -> None:
        """Take what has come."""
        self._is_due = False
        for _ in range(min(ALONE_A_TURN, len(self._alone))):
            rpc = self._alone.popleft()
            # Of who has gone before the turn came there is nothing to be done.
            if rpc.ended:
                continue
            if rpc.is_unary and rpc.paused:
                self._alone.append(rpc)
            elif rpc.open():
                rpc.start()
        if self._alone:
            self._come_round()
