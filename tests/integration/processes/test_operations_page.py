"""The operations page of a real server: where it is, what it says, and who keeps serving it."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.integration.serving import serve, until
from tests.releases import TABLE
from tests.typed import SOON, typed


def snapshot(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}snapshot.json", timeout=SOON) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def shows(url: str, holds: Callable[[dict[str, Any]], object]) -> None:
    """Wait until the page says something."""

    def said() -> bool:
        try:
            return bool(holds(snapshot(url)))
        except (urllib.error.URLError, ConnectionError):
            return False  # whoever serves it is being started again

    until(said)


def process(found: dict[str, Any], name: str) -> dict[str, Any]:
    [one] = [each for each in found["processes"] if each["name"] == name]
    return dict(one)


def test_what_it_says_of_a_server_whose_processes_die(repository: Path) -> None:
    options = ("--repository", str(repository), "--ops-port", "0", "--workers", "2")
    with serve(*options) as served:
        url = served.until_said("operations page on").split()[-1]
        assert url.startswith("http://127.0.0.1:")
        with served.client() as client:
            client.synthesize(TABLE, {"items": 3})
        shows(url, lambda found: [each["table"] for each in found["tables"]] == [TABLE])
        shows(url, lambda found: len([p for p in found["processes"] if p["state"] == "up"]) == 4)
        found = snapshot(url)
        assert found["target"] == served.target
        assert [(each["version"], each["share"]) for each in found["releases"]] == [(1, 1.0)]
        assert found["jobs"] is None

        # A worker dies, and is back; calls go on, and the page has seen it.
        psutil.Process(process(found, "worker 0")["pid"]).send_signal(signal.SIGKILL)
        shows(url, lambda found: process(found, "worker 0")["deaths"] == 1)
        shows(url, lambda found: process(found, "worker 0")["state"] == "up")
        assert "SIGKILL" in process(snapshot(url), "worker 0")["how"]

        # So does whoever serves the page; it is back at the same address.
        keeper = process(snapshot(url), "the books' keeper")["pid"]
        psutil.Process(keeper).send_signal(signal.SIGKILL)
        shows(url, lambda found: process(found, "the books' keeper")["deaths"] == 1)
        assert [each["table"] for each in snapshot(url)["tables"]] == [TABLE]


def test_none_where_nobody_asked_for_one(repository: Path) -> None:
    with serve("--repository", str(repository)) as served:
        assert not [line for line in served.lines if "operations page" in line]


def test_a_public_address_is_refused(repository: Path) -> None:
    done = typed(
        "serve", "--repository", str(repository), "--ops-port", "0", "--ops-host", "0.0.0.0"
    )
    assert done.returncode == 1
    assert "ops_host is '0.0.0.0'" in done.stderr
    assert "--insecure" in done.stderr
