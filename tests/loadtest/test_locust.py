"""Locust itself: `locust -f loadtest/locustfile.py`, with its page, and over several processes."""

from __future__ import annotations

import json
import os
import re
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

from tests.integration.serving import SOON, Served, until

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="Locust is not installed")


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


@contextmanager
def saying(log: Path) -> Iterator[None]:
    """Add to a failed assertion what was in a log."""
    try:
        yield
    except AssertionError as exc:
        exc.add_note(log.read_text())
        raise


def read(path: Path) -> Recorder:
    found = Recorder()
    found.add_json(json.loads(path.read_text()))
    return found


def test_a_master_has_the_calls_of_its_workers(bundled_server: Served, tmp_path: Path) -> None:
    """Two workers ask until the master knows of users of three kinds; it writes what all had."""
    outcomes, said, port = tmp_path / "outcomes.json", tmp_path / "log", str(free_port())
    log = said.open("w+")
    master = ("--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port)
    run = ("--headless", "--expect-workers", "2", "-u", "4", "-r", "4", "--table", "adult")
    more = ("--host", bundled_server.target, "--outcomes", str(outcomes))
    worker = ("--worker", "--master-host", "127.0.0.1", "--master-port", port, "--table", "adult")
    kinds = ("scoring: features late", "open inference: infer", "misbehaving: ")
    with ExitStack() as stack, log:
        first = stack.enter_context(locust(log, *master, *run, *more, "--exit-code-on-error", "0"))
        workers = [stack.enter_context(locust(log, *worker)) for _ in range(2)]
        # Three processes that import Locust come first.
        with saying(said):
            until(lambda: all(kind in said.read_text() for kind in kinds), 2 * SOON)
        first.terminate()
        assert first.wait(120) == 0, said.read_text()
        for each in workers:
            each.wait(120)
    calls = read(outcomes).calls
    for kind in kinds:
        assert any(name.startswith(kind) for name in calls), sorted(calls)
    # What Locust itself had counted, in the last line that has all; reports may have come since.
    counted = max(
        int(line.split()[1])
        for line in said.read_text().splitlines()
        if re.match(r" *Aggregated +\d", line) and "%" in line
    )
    ended = sum(
        each.answered + each.failures.total() + each.refused.total() for each in calls.values()
    )
    assert ended >= counted > 0


def test_its_page_is_there(tmp_path: Path) -> None:
    port = free_port()
    with (
        (tmp_path / "log").open("w+") as log,
        locust(log, "--host", "127.0.0.1:1", "--web-host", "127.0.0.1", "--web-port", str(port)),
    ):

        def answers() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as found:
                    return "locust" in found.read().decode().lower()
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                return False

        until(answers)


def test_a_run_in_which_nobody_could_ask_is_no_success(tmp_path: Path) -> None:
    """Its users wait for their server for longer than the run lasts, and so have no failures."""
    said = tmp_path / "log"
    run = ("--headless", "-u", "1", "-t", "2s", "--table", "adult", "FraudScoring")
    with said.open("w") as log, locust(log, "--host", f"127.0.0.1:{free_port()}", *run) as process:
        assert process.wait(120) == 1, said.read_text()
    assert "nobody has asked 127.0.0.1:" in said.read_text()
