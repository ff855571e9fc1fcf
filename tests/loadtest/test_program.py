"""`make loadtest`, as it is typed: calls against a server, and what becomes of promises."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
from cascade_loadtest.schedule.traces import read_trace

from tests.integration.serving import Served, serve

ROOT = Path(__file__).parents[2]
needs_locust = pytest.mark.skipif(find_spec("locust") is None, reason="Locust is not installed")
# Kept and missed, whatever the machine is like.
POSSIBLE = "promises: [{calls: real time, answered: 0.0001}, {generator: {dropped: 1}}]"
IMPOSSIBLE = "promises: [{calls: real time, latency_ms: {p50: 0.0001}}]"


def loadtest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cascade_loadtest", *options, "--report", str(folder / "r.html")],
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
def test_the_whole_mix_beside_a_job(bundled_server: Served, tmp_path: Path) -> None:
    """Capacity, the open loop, Locust's users and a job, on a server that is there."""
    options = ("--target", bundled_server.target, "--seconds", "2", "--users", "4", "--load", "0.2")
    done = loadtest(tmp_path, *options, "--job", "fast", "--sla", sla(tmp_path, POSSIBLE))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["kept"], found["table"], found["users"]) == (True, "credit", 4)
    assert found["capacity_per_s"] > found["per_s"] > 0
    assert found["real_time"]["answered"] > 0
    assert found["real_time"]["due"] == sum(
        each["due"] for each in json.loads((tmp_path / "r.json").read_text())["windows"]
    )
    assert any(name.startswith("scoring: ") for name in found["tiers"])
    failed = {kind for failures in found["failures"].values() for kind in failures}
    assert not failed & {"INTERNAL", "UNKNOWN", "OK"}
    assert "What was promised" in done.stdout
    assert "Load test of credit" in (tmp_path / "r.html").read_text()


def test_a_promise_that_is_missed_is_the_exit_status(
    bundled_server: Served, tmp_path: Path
) -> None:
    """The default server, started by the program itself; recorded, and then replayed."""
    trace = tmp_path / "calls.parquet"
    options = ("--seconds", "1", "--rate", "30", "--users", "0", "--job", "none")
    promises = sla(tmp_path, IMPOSSIBLE)
    done = loadtest(
        tmp_path, *options, "--table", "adult", "--record", str(trace), "--sla", promises
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, found["kept"], found["table"]) == (1, False, "adult")
    assert "MISSED" in done.stdout
    replay = ("--profile", "replay", "--trace", str(trace), "--target", bundled_server.target)
    promises = sla(tmp_path, POSSIBLE)
    again = loadtest(
        tmp_path, *options[:2], *options[4:], *replay, "--table", "adult", "--sla", promises
    )
    assert again.returncode == 0, again.stderr
    replayed = json.loads(again.stdout.splitlines()[-1])
    assert replayed["real_time"]["due"] == found["real_time"]["due"]


def test_the_page_s_recorder(
    bundled_server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/loadtest.md").read_text()
    (snippet,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    # A second is not much where every processor is taken.
    snippet = snippet.replace('{"age": 25}', '{"age": 25}, timeout=60')
    run: dict[str, Any] = {}
    exec(snippet.replace("127.0.0.1:8470", bundled_server.target), run)
    run["client"].close()
    assert [each.given for each in read_trace(tmp_path / "calls.jsonl")] == [["age"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seconds", "0"], "--seconds is 0; allowed: above 0"),
        (["--sla", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["--profile", "replay", "--trace", "nowhere.jsonl"], "nowhere.jsonl cannot be read"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, options: list[str], message: str) -> None:
    done = loadtest(tmp_path, *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_key_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    done = loadtest(tmp_path, "--sla", sla(tmp_path, "promises: [{calls: '*', awnsered: 0.9}]"))
    assert done.returncode == 2
    assert "Did you mean 'answered'?" in done.stderr


@contextmanager
def under_load(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m cascade_loadtest`, when its calls have begun."""
    command = [sys.executable, "-m", "cascade_loadtest", "--users", "0", "--job", "none"]
    command += ["--rate", "20", *options, "--report", str(folder / "r.html")]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        try:
            assert run.stderr is not None
            assert any("calls are due" in line for line in run.stderr)
            yield run
        finally:
            run.kill()


def test_a_server_that_ends_midway_is_reported(tmp_path: Path) -> None:
    """What was measured until then is kept, and the run has failed, whatever was promised."""
    options = ("--repository", str(ROOT / "model_repository"), "--state-dir", str(tmp_path / "s"))
    with (
        serve(*options) as server,
        under_load(
            tmp_path, "--target", server.target, "--seconds", "3", "--sla", sla(tmp_path, POSSIBLE)
        ) as run,
    ):
        server.process.terminate()
        server.process.wait()
        out, err = run.communicate(timeout=300)
    assert run.returncode == 1
    assert "error" not in err, err
    found = json.loads(out.splitlines()[-1])
    assert found["objectives"][-1]["objective"] == "there at the end"
    assert not found["objectives"][-1]["kept"]
    assert found["failures"]
    assert "told nothing at the end" in (tmp_path / "r.html").read_text()


def test_a_run_that_is_ended_leaves_no_server(tmp_path: Path) -> None:
    with under_load(tmp_path, "--seconds", "60") as run:
        started = psutil.Process(run.pid).children(recursive=True)
        run.terminate()
        out, err = run.communicate(timeout=300)
    assert len(started) > 1
    assert run.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in out + err
    _, alive = psutil.wait_procs(started, 60)
    assert not alive


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    done = loadtest(tmp_path, "--target", "127.0.0.1:1", "--seconds", "1")
    assert done.returncode == 1
    assert "127.0.0.1:1 is not ready" in done.stderr
    assert "Traceback" not in done.stderr
