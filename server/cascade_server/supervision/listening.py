"""The port, which outlives the processes that answer on it."""

from __future__ import annotations

import socket

from cascade_server.errors import ConfigError

BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """Listen on a port; 0: any free one.

    All workers take connections from the one socket, those of today and those that follow them:
    what waits in its queue when one stops is the next one's, and nobody is turned away.

    Raises:
        ConfigError: another server has it.
    """
    made = None
    try:
        made = socket.socket(_family(host, port), socket.SOCK_STREAM)
        # A connection that is only waiting to be forgotten is no server.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as exc:
        if made is not None:
            made.close()
        raise _taken(host, port) from exc
    return made


def reserve(host: str, port: int) -> socket.socket:
    """Keep a port for workers that listen on it each by itself (SO_REUSEPORT); 0: any free one.

    The socket does not listen, and so is given no connection. It is what grpcio needs, which takes
    no socket that others have made.

    Raises:
        ConfigError: another server has it.
    """
    address = (host, port)
    try:
        family = _family(host, port)
        with socket.socket(family, socket.SOCK_STREAM) as alone:
            # Without SO_REUSEPORT: two servers on one port would each get some of the calls.
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
            address = alone.getsockname()[:2]
        kept = socket.socket(family, socket.SOCK_STREAM)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(address)
    except OSError as exc:
        raise _taken(host, port) from exc
    return kept


def _family(host: str, port: int) -> int:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]


def _taken(host: str, port: int) -> ConfigError:
    return ConfigError(f"cannot listen on {host}:{port}: is the port taken?")
