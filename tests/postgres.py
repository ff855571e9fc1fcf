"""A real PostgreSQL of Debian's packages, in a folder of its own and on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER, PASSWORD = "clerk", "s3cr3t p@ss/word"
ABSENT = "needs PostgreSQL's server (Debian: postgresql)"


def programs() -> Path | None:
    """Where its server's programs are; None: nowhere."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


@dataclass
class Server:
    """One that runs.

    Attributes:
        folder: of its files; what they are, only its own user sees.
        port: on 127.0.0.1.
    """

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Of the user who has the password."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def run(self, sql: str) -> str:
        """What psql prints for statements, without headings."""
        command = [
            *("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"),
            *("-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "postgres"),
        ]
        bin_ = programs()
        assert bin_ is not None
        command[0] = str(bin_ / "psql")
        done = subprocess.run(
            command,
            input=sql,
            env={**os.environ, "PGPASSWORD": PASSWORD},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def stop(self) -> None:
        """End it as a crash does."""
        _control(self.folder, "stop", "-m", "immediate")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off -k {self.folder}"
        _control(self.folder, "start", "-w", "-l", str(self.folder / "log"), "-o", options)


def _as_who_may(command: list[str]) -> list[str]:
    """PostgreSQL refuses root."""
    if os.getuid() != 0:
        return command
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]


def _control(folder: Path, action: str, *options: str) -> None:
    bin_ = programs()
    assert bin_ is not None
    command = [str(bin_ / "pg_ctl"), action, "-D", str(folder / "data"), *options]
    done = subprocess.run(
        _as_who_may(command),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, f"pg_ctl {action}: see {folder}/log"


@contextmanager
def running() -> Iterator[Server]:
    """Start a server that asks for a password, and end it."""
    bin_ = programs()
    assert bin_ is not None
    # Not in pytest's folders, which nobody but their owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="cascade-pg-"))
    password = folder / "password"
    password.write_text(PASSWORD)
    folder.chmod(0o755)
    if os.getuid() == 0:
        shutil.chown(folder, "postgres")
        shutil.chown(password, "postgres")
    try:
        initdb = [
            *(str(bin_ / "initdb"), "-D", str(folder / "data"), "-U", USER, "-A", "scram-sha-256"),
            *("--pwfile", str(password), "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
        ]
        done = subprocess.run(
            _as_who_may(initdb), cwd="/", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            server = Server(folder, free.getsockname()[1])
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    with running() as held:
        print(held.url, PASSWORD, flush=True)
        sys.stdin.read()
