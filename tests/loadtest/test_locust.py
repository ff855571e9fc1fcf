"""Locust itself: `locust -f loadtest/locustfile.py`, with its page, and over several processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import pytest
from cascade_loadtest.outcomes import Recorder

from tests.integration.serving import Served, serve, until

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="Locust is not installed")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    state = tmp_path_factory.mktemp("state")
    options = ("--repository", str(ROOT / "model_repository"), "--state-dir", str(state))
    with serve(*options) as served:
        served.client().wait_ready(60)
        yield served


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def locust(log: IO[str], *options: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest/locustfile.py")]
    settings = {key: value for key, value in os.environ.items() if "LOCUST" not in key}
    with subprocess.Popen([*command, *options], stdout=log, stderr=log, env=settings) as process:
        try:
            yield process
        finally:
            process.kill()


def read(path: Path) -> Recorder:
    found = Recorder()
    found.add_json(json.loads(path.read_text()))
    return found


def test_a_master_has_the_calls_of_its_workers(server: Served, tmp_path: Path) -> None:
    """Two workers ask, and the master writes exactly what both were given."""
    outcomes, port = tmp_path / "outcomes.json", str(free_port())
    log = (tmp_path / "log").open("w+")
    master = ("--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port)
    run = ("--headless", "--expect-workers", "2", "-u", "4", "-r", "4", "-t", "4s")
    more = ("--host", server.target, "--table", "adult", "--outcomes", str(outcomes))
    worker = ("--worker", "--master-host", "127.0.0.1", "--master-port", port)
    with ExitStack() as stack, log:
        first = stack.enter_context(locust(log, *master, *run, *more, "--exit-code-on-error", "0"))
        workers = [stack.enter_context(locust(log, *worker)) for _ in range(2)]
        assert first.wait(120) == 0, (tmp_path / "log").read_text()
        for each in workers:
            each.wait(60)
    said = (tmp_path / "log").read_text()
    assert "2 workers" in said or "expected: 2" in said or "Worker" in said
    found = read(outcomes)
    names = set(found.calls)
    assert any(name.startswith("scoring: ") for name in names), said
    assert any(name.startswith("open inference: ") for name in names), said
    # What Locust itself counted, in the line of its summary that has all.
    (total,) = [line for line in said.splitlines() if line.strip().startswith("Aggregated")][:1]
    counted = int(total.split()[1])
    ended = sum(
        each.answered + each.failures.total() + each.refused.total()
        for each in found.calls.values()
    )
    assert ended == counted


def test_its_page_is_there(server: Served, tmp_path: Path) -> None:
    port = free_port()
    with (
        (tmp_path / "log").open("w+") as log,
        locust(log, "--host", server.target, "--web-host", "127.0.0.1", "--web-port", str(port)),
    ):

        def answers() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as found:
                    return "locust" in found.read().decode().lower()
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                return False

        until(answers)
