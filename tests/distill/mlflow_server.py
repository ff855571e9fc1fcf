"""A real MLflow server, from an environment of its own, and its client beside ours."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.peers.environments import NotInstalled, environment

PACKAGE = "mlflow==3.17.2"
# Longer than it takes to start.
SOON = 400.0


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Its address; the test is skipped where MLflow cannot be had.

    The client lies in the same environment, which is put behind our own on the path: what we have
    is ours, and what MLflow needs beside that is its.
    """
    try:
        home = environment(PACKAGE)
    except NotInstalled as exc:
        pytest.skip(str(exc))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(home / "bin" / "python"), "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--serve-artifacts"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    # Half of what it starts is for jobs of its own, and nobody has any.
    environ = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = folder / "server.log"
    with (
        log.open("w") as said,
        subprocess.Popen(command, stdout=said, stderr=said, cwd=folder, env=environ) as server,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            end = time.monotonic() + SOON
            while not _answers(f"{url}/health"):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.2)
            major, minor = sys.version_info[:2]
            packages = str(home / "lib" / f"python{major}.{minor}" / "site-packages")
            sys.path.append(packages)
            try:
                yield url
            finally:
                sys.path.remove(packages)
        finally:
            server.terminate()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def clean_environment() -> dict[str, str]:
    """Without what points to a server of somebody's own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
