"""A real Ray cluster on this machine, whose processes end with it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

IS_INSTALLED = find_spec("ray") is not None
# The program of this environment: workers run its Python.
PROGRAM = [sys.executable, "-m", "ray.scripts.scripts"]
# To begin takes some ten seconds on a machine that does nothing else.
BEGIN_SECONDS = 180.0
OBJECT_STORE_BYTES = 200 * 2**20


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
        """Processes of workers that draw now."""
        found = []
        for each in self.head.children(recursive=True):
            with suppress(psutil.Error):
                if "draw_slab" in " ".join(each.cmdline()):
                    found.append(each)
        return found


@contextmanager
def ray_cluster(workers: int) -> Iterator[Cluster]:
    """A cluster with so many workers, each with a processor of its own.

    Raises:
        RuntimeError: it did not begin.
    """
    # Ray's sockets lie there, whose paths are to be short.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    port = _free_port()
    command = [
        *(*PROGRAM, "start", "--head", "--block", "--disable-usage-stats"),
        *("--node-ip-address=127.0.0.1", f"--port={_free_port()}"),
        *(f"--ray-client-server-port={port}", "--include-dashboard=false"),
        *(f"--num-cpus={workers}", f"--temp-dir={folder}"),
        f"--object-store-memory={OBJECT_STORE_BYTES}",
    ]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = subprocess.Popen(command, env=environment, **quiet)
    head = psutil.Process(started.pid)
    every: list[psutil.Process] = []
    try:
        until = time.monotonic() + BEGIN_SECONDS
        while not _answers(port):
            if started.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{' '.join(command)} did not begin")
            time.sleep(0.1)
        yield Cluster(f"ray://127.0.0.1:{port}", head)
    finally:
        # Asked to end, each process waits half a minute for those that it has started. Nothing that
        # they hold is of use to anybody: all are killed, the first one before it starts others.
        with suppress(psutil.Error):
            head.suspend()
            every = head.children(recursive=True)
        for each in [head, *every]:
            with suppress(psutil.Error):
                each.kill()
        started.wait()
        psutil.wait_procs(every)
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(1.0)
        return one.connect_ex(("127.0.0.1", port)) == 0
