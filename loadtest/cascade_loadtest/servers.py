"""Servers in processes of their own, for whoever loads them.

What is measured is what ships: `default_server` is `cascade serve` with nothing said but where its
model repository is and that any free port will do. Who needs another one says so, option by option.

>>> with serving(default_server(Path("model_repository"))) as server:
...     Client(server.target).synthesize("credit", {"age": 25})
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cascade_loadtest.errors import LoadFailed

# Runs a command of `cascade`.
PROGRAM = "from cascade_cli.program import main; main()"
# What figures of the default server say that they are of.
DEFAULT = "cascade serve"
# Seconds that a server may take to end; its own grace for calls in flight is ten.
END_SECONDS = 30.0


@dataclass(frozen=True)
class Served:
    """A server that serves.

    Attributes:
        target: "host:port" of its gRPC.
        pid: of its first process; its workers are children of that.
    """

    target: str
    pid: int


def default_server(repository: Path, *options: str) -> tuple[str, ...]:
    """The command of `cascade serve` on a free port, as it ships; options make it another one."""
    serve = ("serve", "--port", "0", "--repository", str(repository))
    return (sys.executable, "-c", PROGRAM, *serve, *options)


def _environment() -> dict[str, str]:
    """This process's, without settings of a server: those would make it another one."""
    return {key: value for key, value in os.environ.items() if not key.startswith("CASCADE_")}


@contextmanager
def serving(command: Sequence[str]) -> Iterator[Served]:
    """Run a server until the block ends; it is gone by then, not merely idle.

    Args:
        command: of a program that prints "serving on HOST:PORT" once it does.

    Raises:
        LoadFailed: it ended without serving.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment()) as server:
        try:
            assert server.stdout is not None
            for line in server.stdout:
                if found := re.search(r"serving on (\S+:\d+)", line):
                    break
            else:
                raise LoadFailed(f"{' '.join(command)} ended without serving")
            yield Served(found[1], server.pid)
        finally:
            server.terminate()
            try:
                server.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
