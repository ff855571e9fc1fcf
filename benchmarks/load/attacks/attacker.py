"""How an attack is carried out: connections that send what a generator gives, and come again."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.load.attacks.wire import PREFACE, settings

# A chunk to send, or seconds to wait before the next.
Script = Iterator[bytes | float]
CHUNK = 65_536
READ_BYTES = 1 << 18


@dataclass(frozen=True)
class Attack:
    """One way to harm a server.

    Attributes:
        name: in the figures.
        harm: what it is after.
        script: what one connection sends after its preface; when it ends, the connection stays
            open and is read from.
        connections: at once.
        comes_again: how often a connection that the server has closed is made anew.
        reads: whether answers are read at all.
        preface: sent before the script.
    """

    name: str
    harm: str
    script: Callable[[], Script]
    connections: int = 2
    comes_again: int = 20
    reads: bool = True
    preface: bytes = PREFACE + settings()


class Link:
    """One of an attack's connections."""

    def __init__(self, attack: Attack, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.setblocking(False)
        if not attack.reads:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._script = attack.script()
        self._left = memoryview(attack.preface)
        self._rest_until = 0.0
        self._ended = False

    @property
    def says(self) -> bool:
        """Whether there is something to send now."""
        return bool(self._left) or (not self._ended and time.monotonic() >= self._rest_until)

    def send(self) -> None:
        """Send what the system takes at once.

        Raises:
            OSError: the server has closed.
        """
        if not self._left and not self._ended:
            step = next(self._script, None)
            if step is None:
                self._ended = True
            elif isinstance(step, bytes):
                self._left = memoryview(step)
            else:
                self._rest_until = time.monotonic() + step
        if self._left:
            try:
                self._left = self._left[self.socket.send(self._left[:CHUNK]) :]
            except BlockingIOError:
                return


def carry_out(attack: Attack, port: int, seconds: float) -> dict[str, int]:
    """Attack for so long.

    Returns:
        How often the server closed a connection, and how many connections were refused.
    """
    ends = time.monotonic() + seconds
    closed = refused = 0
    chances = attack.connections * attack.comes_again
    chooser = selectors.DefaultSelector()
    links: dict[int, Link] = {}

    def connect() -> None:
        nonlocal refused
        try:
            link = Link(attack, port)
        except OSError:
            refused += 1
            return
        links[link.socket.fileno()] = link
        chooser.register(link.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)

    for _ in range(attack.connections):
        connect()
    while (now := time.monotonic()) < ends:
        idle = True
        for key, mask in chooser.select(timeout=min(0.02, ends - now)):
            link = links[key.fd]
            try:
                if mask & selectors.EVENT_READ and attack.reads:
                    idle = False
                    if not link.socket.recv(READ_BYTES):
                        raise ConnectionResetError
                if mask & selectors.EVENT_WRITE and link.says:
                    idle = False
                    link.send()
            except BlockingIOError:
                continue
            except OSError:
                chooser.unregister(link.socket)
                link.socket.close()
                del links[key.fd]
                closed += 1
                if chances > 0:
                    chances -= 1
                    connect()
        if idle:
            time.sleep(0.002)
    for link in links.values():
        link.socket.close()
    return {"closed": closed, "refused": refused}
