"""Distributes connections evenly among the workers.

The system assigns a connection to one of the processes that listen on a port by a hash of its
address. A gRPC caller usually has a few long-lived connections, and may find all of them at one
worker while another is idle. So a worker that gets a connection and has more than another one hands
it on, before reading a byte of it. Counts lie in memory that all workers see; each worker writes
only its own.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from cascade_server.memory import Memory


def least_connections(own: int, connections: Sequence[int], ready: Sequence[bool]) -> int:
    """Return the worker that should have a new connection.

    Args:
        own: the worker that got it, which keeps it unless another has fewer.
        connections: number of connections of each worker.
        ready: which workers answer; if none does, the connection is kept.
    """
    candidates = [place for place in range(len(ready)) if ready[place]]
    if not candidates:
        return own
    return min(candidates, key=lambda place: (connections[place], place != own))


class Board:
    """What the workers know of each other; create it before they fork.

    Args:
        workers: number of workers.
        memory: holds the counts.
    """

    def __init__(self, workers: int, memory: Memory) -> None:
        self.workers = workers
        self.open, self.ready = memory.integers(workers), memory.integers(workers)
        # Connections handed to a worker by another, and accepted by it: [to, from].
        self.sent = memory.integers(workers**2).reshape(workers, workers)
        self.taken = memory.integers(workers**2).reshape(workers, workers)
        # Held by all, so that a connection on its way to a worker that dies goes to its successor.
        self.pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(workers)]
        for pair in self.pairs:
            for end in pair:
                end.setblocking(False)

    def left(self, place: int) -> None:
        """Note that the process of a worker has ended and the next one is not ready yet.

        The process that starts the workers calls this. Connections on their way there go to workers
        that answer; otherwise their callers would wait until a new worker has loaded.
        """
        self.ready[place] = self.open[place] = 0
        ready = self.ready.astype(bool).tolist()
        while any(ready) and (found := self.next_handed(place)) is not None:
            giver, connection = found
            self.taken[place, giver] += 1
            other = least_connections(place, self.connections(), ready)
            with socket.socket(fileno=connection), contextlib.suppress(OSError):
                socket.send_fds(self.pairs[other][0], [bytes([other])], [connection])
                # No worker hands a connection to itself, so only the supervisor changes this count.
                self.sent[other, other] += 1

    def connections(self) -> list[int]:
        """Return each worker's connections, including those on their way."""
        underway = (self.sent - self.taken).sum(axis=1)
        counts: list[int] = (self.open + underway).tolist()
        return counts

    def next_handed(self, place: int) -> tuple[int, int] | None:
        """Return the next connection handed to a worker, as giver and file descriptor, or None."""
        try:
            content, found, _, _ = socket.recv_fds(self.pairs[place][1], 1, 1)
        except BlockingIOError:
            return None
        return content[0], found[0]

    def close(self) -> None:
        """Close the sockets; connections that no worker has taken end."""
        for pair in self.pairs:
            for end in pair:
                end.close()


class Placement:
    """One worker's part in the distribution of connections."""

    def __init__(self, board: Board, place: int) -> None:
        self._board, self._place = board, place
        board.open[place] = board.ready[place] = 0

    def says_ready(self, is_ready: bool) -> None:
        """Set whether connections may be handed to this worker."""
        self._board.ready[self._place] = is_ready

    def gives_away(self, connection: int) -> bool:
        """Hand a connection to the worker that should have it, unless that is this one.

        Args:
            connection: its file descriptor, which the caller must close if it was handed on.
        """
        board, own = self._board, self._place
        ready = board.ready.astype(bool).tolist()
        other = least_connections(own, board.connections(), ready)
        if other == own:
            return False
        try:
            socket.send_fds(board.pairs[other][0], [bytes([own])], [connection])
        except OSError:
            return False  # that worker is behind with connections handed to it
        board.sent[other, own] += 1
        return True

    def opened(self) -> None:
        """Count a new connection of this worker."""
        self._board.open[self._place] += 1

    def closed(self) -> None:
        """Count a closed connection of this worker."""
        self._board.open[self._place] -= 1

    def fileno(self) -> int:
        """Return a descriptor that is readable when a connection was handed to this worker."""
        return self._board.pairs[self._place][1].fileno()

    def take(self) -> socket.socket | None:
        """Take a connection that was handed to this worker; None if there is none."""
        board, own = self._board, self._place
        found = board.next_handed(own)
        if found is None:
            return None
        giver, connection = found
        board.taken[own, giver] += 1
        return socket.socket(fileno=connection)
