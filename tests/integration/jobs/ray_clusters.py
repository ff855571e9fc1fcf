"""A real Ray cluster on this machine, for tests: its processes end with it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from tests.integration.serving import until

# The program of this environment: workers run its Python.
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
IS_INSTALLED = find_spec("ray") is not None
# To begin takes some ten seconds on a machine that does nothing else.
BEGIN_SECONDS = 120.0


@dataclass(frozen=True)
class Cluster:
    """A cluster that is up.

    Attributes:
        address: of its Ray Client server.
        head: the process that ends all others when it ends.
    """

    address: str
    head: psutil.Process

    def drawing(self) -> list[psutil.Process]:
        """Processes of workers that have been asked for rows."""
        found = []
        for each in self.head.children(recursive=True):
            with suppress(psutil.Error):
                if "draw_slab" in " ".join(each.cmdline()):
                    found.append(each)
        return found


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(1.0)
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def ray_cluster(workers: int) -> Iterator[Cluster]:
    """A cluster with so many workers, each with a processor of its own."""
    # Ray's sockets lie there, whose paths are to be short.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    client = _free_port()
    command = [
        *(*RAY, "start", "--head", "--block", "--disable-usage-stats"),
        *("--node-ip-address=127.0.0.1", f"--port={_free_port()}"),
        *(f"--ray-client-server-port={client}", "--include-dashboard=false"),
        *(f"--num-cpus={workers}", f"--temp-dir={folder}"),
        *(f"--object-store-memory={200 * 2**20}",),
    ]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    head = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    process = psutil.Process(head.pid)
    every: list[psutil.Process] = []
    try:
        until(lambda: _answers(client) or head.poll() is not None, BEGIN_SECONDS)
        assert head.poll() is None, "ray start ended at once"
        yield Cluster(f"ray://127.0.0.1:{client}", process)
    finally:
        with suppress(psutil.Error):
            every = process.children(recursive=True)
        head.terminate()
        with suppress(subprocess.TimeoutExpired):
            head.wait(30)
        for each in [*every, process]:
            with suppress(psutil.Error):
                each.kill()
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)
