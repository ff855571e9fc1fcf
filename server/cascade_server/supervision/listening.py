"""The port and the local socket, which outlive the processes that answer on them."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cascade_server.addresses import host_port
from cascade_server.errors import ConfigError

log = logging.getLogger("cascade.server")

BACKLOG = 1024
# In a server's state folder: whoever may open it may change releases.
SOCKET = "control.sock"


def listen(host: str, port: int) -> socket.socket:
    """Listen on a port; 0 for any free one.

    All workers, present and future, accept connections from this one socket: if one stops,
    connections in its queue go to the next, and none is refused.

    Raises:
        ConfigError: another server uses the port, or the host is not this machine's.
    """
    made = None
    try:
        made = socket.socket(_family(host, port), socket.SOCK_STREAM)
        # A connection in TIME_WAIT is not a server.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as exc:
        if made is not None:
            made.close()
        raise not_listening(host, port, exc) from exc
    return made


def reserve(host: str, port: int) -> socket.socket:
    """Reserve a port for workers that each listen on it (SO_REUSEPORT); 0 for any free one.

    The socket does not listen, and so gets no connections. grpcio needs this, since it cannot use
    an existing socket.

    Raises:
        ConfigError: another server uses the port.
    """
    address = (host, port)
    try:
        family = _family(host, port)
        with socket.socket(family, socket.SOCK_STREAM) as alone:
            # Without SO_REUSEPORT: otherwise two servers on one port would each get some of the
            # calls.
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
            address = alone.getsockname()[:2]
        kept = socket.socket(family, socket.SOCK_STREAM)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(address)
    except OSError as exc:
        raise not_listening(host, port, exc) from exc
    return kept


def listen_locally(path: Path) -> socket.socket | None:
    """Listen on a Unix socket that only this user may open.

    A socket that a killed server has left there is replaced.

    Returns:
        The socket; None if there can be none, which is logged. The server works without it.

    Raises:
        ConfigError: another server listens there.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path)
        # The mode is right from the first moment, not only after a change.
        mask = os.umask(0o177)
        try:
            made.bind(str(path))
        finally:
            os.umask(mask)
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as exc:
        made.close()
        why = exc.strerror or str(exc)
        log.error("%s cannot be listened on, so nobody is served there: %s", path, why)
        return None
    except ConfigError:
        made.close()
        raise
    return made


def _clear(path: Path) -> None:
    """Remove a socket that no process listens on.

    Raises:
        ConfigError: a process listens on it.
        OSError: it is not a socket.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.ENOTSOCK, "there is something else that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        try:
            caller.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # its queue is full, so a process listens
    raise ConfigError(
        f"state_dir {path.parent} is in use by another server, which listens on {path.name} there; "
        "each needs a folder of its own"
    )


def leave_locally(path: Path, made: socket.socket) -> None:
    """Stop listening on a Unix socket, and remove it."""
    made.close()
    with contextlib.suppress(OSError):
        path.unlink()


def _family(host: str, port: int) -> int:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]


def not_listening(host: str, port: int, error: OSError) -> ConfigError:
    """Return the error for an address that cannot be listened on, with the reason."""
    # grpcio's server gives no reason.
    taken = error.errno in (None, errno.EADDRINUSE)
    why = "is the port taken?" if taken else error.strerror or str(error)
    return ConfigError(f"cannot listen on {host_port(host, port)}: {why}")


# Bytes of a Unix socket's path, and of a socket's name in the server's own folder.
LONGEST_PATH, LONGEST_NAME = 107, 24


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """Create a folder for the sockets between a server's own processes, until the block ends.

    Raises:
        ConfigError: there can be none, for example because the root is read-only and nothing is
            mounted on /tmp, or its name leaves no room for a socket's name.
    """
    allowed = (
        "allowed: a /tmp that can be written to (a tmpfs, an emptyDir), or another folder that the "
        "variable TMPDIR names"
    )
    try:
        made = tempfile.TemporaryDirectory(prefix="cascade-")
    except OSError as exc:
        why = exc.strerror or str(exc)
        raise ConfigError(
            f"there is no folder for a server's own sockets ({why}); {allowed}"
        ) from exc
    with made as name:
        most = LONGEST_PATH - LONGEST_NAME
        if len(os.fsencode(name)) > most:
            raise ConfigError(
                f"the folder for a server's own sockets would be {name}, which is longer than a "
                f"socket's path may be; {allowed}, of at most {most} bytes with what is made in it"
            )
        yield Path(name)


@contextlib.contextmanager
def local_socket(state_dir: Path | None) -> Iterator[socket.socket | None]:
    """Listen on the Unix socket of a server with a state folder, until the block ends.

    Raises:
        ConfigError: as `listen_locally`.
    """
    if state_dir is None:
        yield None
        return
    path = state_dir / SOCKET
    made = listen_locally(path)
    try:
        yield made
    finally:
        if made is not None:
            leave_locally(path, made)
