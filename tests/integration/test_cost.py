"""`cascade cost` of a real server: what it says is what was asked, and outlives who counted it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import psutil
from cascade_client import CascadeError, Client
from cascade_cost import Usage

from tests.integration.serving import Served, serve, until
from tests.releases import make_release
from tests.typed import CASCADE, SOON

TABLE = "payments"


def cost(served: Served, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [*CASCADE, "cost", served.target, "--json", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def tier(usage: Usage, name: str) -> tuple[int, int]:
    """Answers and rows."""
    found = [each for each in usage.compute if each.tier == name]
    return sum(each.answers for each in found), sum(each.rows for each in found)


def ask(client: Client) -> None:
    for seed in range(10):
        client.synthesize(TABLE, [{"items": 3}, {"items": 4}], fidelity="fast", seed=seed)
    for _ in range(3):
        client.synthesize(TABLE, [{"items": 3}, {"items": 4}], fidelity="fast", seed=7)
    client.synthesize(TABLE, [{"items": 3}], draws=5, fidelity="full", seed=1)
    client.generate(TABLE, 2000, given={"items": 2})


def test_it_is_what_was_asked_and_survives_a_kill_and_a_restart(tmp_path: Path) -> None:
    repository, state = tmp_path / "repository", tmp_path / "state"
    make_release(repository)
    options = ("--repository", str(repository), "--state-dir", str(state), "--pool-mib", "0")
    with serve(*options) as served, served.client() as client:
        ask(client)
        client.submit(TABLE, 1500, fidelity="fast", seed=1).wait(SOON)
        until(lambda: tier(client.usage(), "job")[1] == 1500)
        found = cost(served)
        tiers = found["tiers"]
        assert {name: each["rows"] for name, each in tiers.items()} == {
            "cache": 6,
            "student": 20,
            "teacher": 2005,
            "job": 1500,
        }
        # Of five columns that were not given, two of them numbers in bins.
        assert tiers["student"]["values_drawn"] == 20 * tiers["cache"]["values_drawn"] / 6
        assert all(each["core_seconds"] > 0 for each in tiers.values())
        assert all(each["cost_per_10k_rows"] > 0 for each in tiers.values())
        whole = sum(each["seconds"] for each in found["usage"]["processes"])
        charged = sum(each["core_seconds"] for each in tiers.values())
        # A process says once a second what it has used.
        assert charged <= whole + len(found["usage"]["processes"])
        before = client.usage()
        (worker,) = client.statistics().workers
        psutil.Process(worker.pid).kill()

        def is_another() -> bool:
            try:
                with served.client() as another:
                    return [each.pid for each in another.statistics().workers] != [worker.pid]
            except CascadeError:
                return False  # it is being started again

        until(is_another)
        with served.client() as another:
            assert tier(another.usage(), "student") == tier(before, "student")
            ask(another)
            before = another.usage()
        assert tier(before, "student") == (20, 40)
    with serve(*options) as served, served.client() as client:
        for name in ("cache", "student", "teacher", "job"):
            assert tier(client.usage(), name) == tier(before, name)
        earlier = tmp_path / "earlier.json"
        earlier.write_text(json.dumps(cost(served)))
        client.synthesize(TABLE, [{"items": 3}], fidelity="fast", seed=99)
        later = cost(served, "--after", str(earlier), "--focus", str(tmp_path / "cost.csv"))
        assert later["tiers"]["student"]["rows"] == 1
        assert "Processors of student" in (tmp_path / "cost.csv").read_text()
