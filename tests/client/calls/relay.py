"""A way to a server that may end in nothing: what is sent is taken, and nobody ever has it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Relay:
    """Passes on what comes over its connections.

    Args:
        target: the server, host and port.

    Attributes:
        target: where it listens.
        connections: that it has had.
        left: set once a connection has ended that had gone dark.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections, self.left = 0, threading.Event()
        # Of the connections that there are, and of those to come.
        self._dark, self._stays_dark = threading.Event(), False
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def darken(self, for_good: bool = False) -> None:
        """From now on nothing comes over the connections that there are; over new ones it does, but
        for good: over none."""
        dark, self._stays_dark = self._dark, for_good
        if not for_good:
            self._dark = threading.Event()
        dark.set()

    def close(self) -> None:
        """End all of it."""
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours = self._listener.accept()[0]
                self.connections += 1
                theirs = socket.create_connection(self._server)
                self._sockets += [ours, theirs]
                for ends in ((ours, theirs), (theirs, ours)):
                    way = (*ends, self._dark)
                    threading.Thread(target=self._pass, args=way, daemon=True).start()

    def _pass(self, giver: socket.socket, taker: socket.socket, dark: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := giver.recv(65_536):
                if not dark.is_set():
                    taker.sendall(data)
        if dark.is_set():
            self.left.set()
        with contextlib.suppress(OSError):
            taker.shutdown(socket.SHUT_WR)


@contextmanager
def relaying(target: str) -> Iterator[Relay]:
    """A relay to a server."""
    relay = Relay(target)
    try:
        yield relay
    finally:
        relay.close()
