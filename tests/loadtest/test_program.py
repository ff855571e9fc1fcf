"""`make loadtest`, as it is typed: Locust's users against a server, and what they were given."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
needs_locust = pytest.mark.skipif(find_spec("locust") is None, reason="Locust is not installed")


def loadtest(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cascade_loadtest", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def sla(folder: Path, text: str) -> str:
    path = folder / "sla.yaml"
    path.write_text(text)
    return str(path)


@needs_locust
def test_a_promise_that_is_kept(tmp_path: Path) -> None:
    """Whatever the machine is like: a call is made, and one of a hundred is answered."""
    promises = sla(tmp_path, "promises: [{calls: '*', answered: 0.01, least: 1}]")
    done = loadtest("--users", "2", "--seconds", "3", "--sla", promises)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["kept"], found["table"], found["users"]) == (True, "credit", 2)
    assert found["calls"] > 0
    assert set(found["tiers"]) <= {"features late", "no history", "several draws"}
    assert sum(sum(tiers.values()) for tiers in found["tiers"].values()) > 0
    failed = {kind for failures in found["failures"].values() for kind in failures}
    assert failed <= {"DeadlineExceeded", "Overloaded", "Unavailable"}
    (answered,) = found["objectives"]
    assert (answered["objective"], answered["kept"]) == ("answered", True)
    assert "What was promised" in done.stdout


@needs_locust
def test_a_promise_that_is_missed_is_the_exit_status(tmp_path: Path) -> None:
    promises = sla(tmp_path, "promises: [{calls: '*', answered: 0.01, least: 1000000}]")
    options = ("--users", "1", "--seconds", "1", "--table", "adult")
    done = loadtest(*options, "--sla", promises)
    found = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, found["kept"], found["table"]) == (1, False, "adult")
    assert "MISSED" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seconds", "0"], "--seconds is 0; allowed: above 0"),
        (["--users", "0"], "--users is 0; allowed: 1 to"),
        (["--sla", "nowhere.yaml"], "nowhere.yaml cannot be read"),
    ],
)
def test_what_cannot_be_used_is_named(options: list[str], message: str) -> None:
    done = loadtest(*options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_key_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    done = loadtest("--sla", sla(tmp_path, "promises: [{calls: '*', awnsered: 0.9}]"))
    assert done.returncode == 2
    assert "Did you mean 'answered'?" in done.stderr


@needs_locust
def test_a_server_that_is_not_there() -> None:
    done = loadtest("--target", "127.0.0.1:1", "--users", "1", "--seconds", "1")
    assert done.returncode == 1
    assert "127.0.0.1:1 is not ready" in done.stderr
    assert "Traceback" not in done.stderr
