"""Plans and tallies: shared out and added up, they are what one process would have had."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cascade_loadtest.generator.plan import Plan
from cascade_loadtest.generator.tally import Tally, merged


def plan(calls: int) -> Plan:
    return Plan(
        "127.0.0.1:1",
        ["late", "history"],
        [b"", b"\x00\xff", b"abc"],
        np.linspace(0, 1, calls),
        np.arange(calls, dtype=np.uint32) % 3,
        (np.arange(calls) % 2).astype(np.uint8),
        np.full(calls, 0.05),
        1.0,
        5,
        0.25,
    )


def test_a_plan_is_read_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "plan.npz"
    plan(7).save(path)
    found, made = Plan.read(path), plan(7)
    assert found.messages == made.messages
    for name in ("due", "message", "kind", "deadline"):
        assert np.array_equal(getattr(found, name), getattr(made, name)), name
    for name in ("target", "kinds", "seconds", "connections", "window", "in_flight", "method"):
        assert getattr(found, name) == getattr(made, name), name


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_shares_are_all_of_it(processes: int) -> None:
    whole = plan(10)
    shares = [whole.share(number, processes) for number in range(processes)]
    assert sorted(np.concatenate([each.due for each in shares])) == whole.due.tolist()
    assert sum(each.connections for each in shares) == 5
    assert all((np.diff(each.due) > 0).all() for each in shares)


def tally(*late: float, window: float = 1.0) -> Tally:
    found = Tally(window, began=100.0)
    for due, took in enumerate(late):
        at = found.at(float(due))
        at.due += 1
        at.sent += 1
        at.latencies.note(took)
        at.tiers["student"] += 1
        found.lag.note(took / 10)
    found.dropped["the generator was late"] += 1
    found.cpu.append(0.5)
    return found


def test_tallies_add_up() -> None:
    parts = [tally(0.1, 0.2), tally(0.3)]
    found = merged([Tally.from_json(json.loads(json.dumps(each.as_json()))) for each in parts])
    assert [each.due for each in found.windows] == [2, 1]
    assert [each.latencies.count for each in found.windows] == [2, 1]
    assert found.windows[0].tiers == {"student": 2}
    assert found.lag.count == 3
    assert found.dropped == {"the generator was late": 2}
    assert found.cpu == [0.5, 0.5]
    assert found.began == 100.0


@pytest.mark.parametrize("window", [0.25, 0.1, 1 / 3, 7.0])
def test_windows_stay_where_they_were(window: float) -> None:
    """However windows and floating point fit: what is added is in the window that it was in."""
    one = Tally(window)
    for number in range(100):
        one.at((number + 0.5) * window).due = number
    assert [each.due for each in merged([one]).windows] == list(range(100))
