"""Which worker has which connection: each about as many as the others.

The system gives a connection to one of the processes that listen on a port by a hash of its
address. A caller with a few standing connections, which is what gRPC's callers have, may find all
of them with one worker while another is idle. So a worker that is given a connection and has more
than another one hands it on, before a byte of it is read. Counts lie in memory that all workers
see; each writes only its own.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from cascade_server.memory import Memory


def least_connections(own: int, connections: Sequence[int], ready: Sequence[bool]) -> int:
    """The worker that is to have a new connection.

    Args:
        own: who was given it, and keeps it unless another has fewer.
        connections: of each.
        ready: who answers; if nobody does, it is kept.
    """
    candidates = [place for place in range(len(ready)) if ready[place]]
    if not candidates:
        return own
    return min(candidates, key=lambda place: (connections[place], place != own))


class Board:
    """What the workers know of each other; made before they part.

    Args:
        workers: how many there are.
        memory: where the counts lie.
    """

    def __init__(self, workers: int, memory: Memory) -> None:
        self.workers = workers
        self.open, self.ready = memory.integers(workers), memory.integers(workers)
        # Handed to a worker by another, and taken by it: [to, from].
        self.sent = memory.integers(workers**2).reshape(workers, workers)
        self.taken = memory.integers(workers**2).reshape(workers, workers)
        # Held by all, so that what is on its way to a worker that dies is taken by the next one.
        self.pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(workers)]
        for pair in self.pairs:
            for end in pair:
                end.setblocking(False)

    def left(self, place: int) -> None:
        """The process of a worker has ended, and the next one is not ready yet; told by who starts
        them. What is on its way there goes to those that answer: its callers would wait for as long
        as a worker takes to load."""
        self.ready[place] = self.open[place] = 0
        ready = self.ready.astype(bool).tolist()
        while any(ready) and (found := self.next_handed(place)) is not None:
            giver, connection = found
            self.taken[place, giver] += 1
            other = least_connections(place, self.connections(), ready)
            with socket.socket(fileno=connection), contextlib.suppress(OSError):
                socket.send_fds(self.pairs[other][0], [bytes([other])], [connection])
                # Nobody hands anything to himself, so that this count is the supervisor's alone.
                self.sent[other, other] += 1

    def connections(self) -> list[int]:
        """Of each worker, with those that are on their way."""
        underway = (self.sent - self.taken).sum(axis=1)
        counts: list[int] = (self.open + underway).tolist()
        return counts

    def next_handed(self, place: int) -> tuple[int, int] | None:
        """What waits for a worker: who handed it on, and its file descriptor; None: nothing."""
        try:
            content, found, _, _ = socket.recv_fds(self.pairs[place][1], 1, 1)
        except BlockingIOError:
            return None
        return content[0], found[0]

    def close(self) -> None:
        """Let go of the sockets; connections that nobody took end."""
        for pair in self.pairs:
            for end in pair:
                end.close()


class Placement:
    """One worker's part in sharing out connections among all workers."""

    def __init__(self, board: Board, place: int) -> None:
        self._board, self._place = board, place
        board.open[place] = board.ready[place] = 0

    def says_ready(self, is_ready: bool) -> None:
        """From now on connections may, or may not, be handed to this worker."""
        self._board.ready[self._place] = is_ready

    def gives_away(self, connection: int) -> bool:
        """Hand a connection to the worker that is to have it, unless that is this one.

        Args:
            connection: its file descriptor, which the caller is to close if it was handed on.
        """
        board, own = self._board, self._place
        ready = board.ready.astype(bool).tolist()
        other = least_connections(own, board.connections(), ready)
        if other == own:
            return False
        try:
            socket.send_fds(board.pairs[other][0], [bytes([own])], [connection])
        except OSError:
            return False  # it is behind with what it was handed
        board.sent[other, own] += 1
        return True

    def opened(self) -> None:
        """This worker has one more."""
        self._board.open[self._place] += 1

    def closed(self) -> None:
        """This worker has one less."""
        self._board.open[self._place] -= 1

    def fileno(self) -> int:
        """Readable when a connection has been handed to this worker."""
        return self._board.pairs[self._place][1].fileno()

    def take(self) -> socket.socket | None:
        """A connection that was handed to this worker; None: there is none."""
        board, own = self._board, self._place
        found = board.next_handed(own)
        if found is None:
            return None
        giver, connection = found
        board.taken[own, giver] += 1
        return socket.socket(fileno=connection)
