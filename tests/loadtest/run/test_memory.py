"""Growth of a process's memory since it was warm."""

from __future__ import annotations

import os
from collections.abc import Callable

import psutil
import pytest
from cascade_loadtest.run.memory import Samples, Watch, growth, named, role


def samples(rss: Callable[[float], float], begin: float = 0, end: float = 3600) -> Samples:
    found = Samples("worker")
    at = begin
    while at <= end:
        found.seconds.append(at)
        found.rss.append(round(2**20 * rss(at / 3600)))
        found.cpu.append(at)
        at += 10
    return found


def test_what_grows_is_told() -> None:
    """From 100 to 110 MiB in an hour: between the middles of the ends, 7.2 of 102.4."""
    found = growth(samples(lambda share: 100 + 10 * share), 3600)
    assert found == pytest.approx(7.2 / 102.4, abs=2e-3)


def test_warming_up_is_no_growth() -> None:
    found = growth(samples(lambda share: 100 if share < 0.19 else 200), 3600)
    assert found == pytest.approx(0.0)


def test_garbage_comes_and_goes() -> None:
    """A saw of 20 % on 100 MiB that does not grow."""
    found = growth(samples(lambda share: 100 + 20 * ((share * 97) % 1)), 3600)
    assert found == pytest.approx(0.0, abs=0.02)


def test_what_shrinks_has_grown_by_less_than_nothing() -> None:
    found = growth(samples(lambda share: 200 - 100 * share), 3600)
    assert found is not None
    assert found < 0


@pytest.mark.parametrize(
    ("found", "run"),
    [
        (samples(lambda _: 100, end=200), 200.0),
        (samples(lambda _: 100, begin=2000), 3600.0),
        (samples(lambda _: 100, end=1800), 3600.0),
        (Samples("worker"), 3600.0),
    ],
    ids=["too short a run", "came later", "ended before", "never seen"],
)
def test_nothing_is_told_of_a_process_that_was_not_there(found: Samples, run: float) -> None:
    assert growth(found, run) is None


def test_names_are_told_apart() -> None:
    found = named([Samples("worker"), Samples("teacher"), Samples("worker")])
    assert [each.name for each in found] == ["worker 1", "teacher", "worker 2"]


def test_this_process() -> None:
    this = psutil.Process()
    assert role(this, os.getpid(), ()) == "supervisor"
    assert role(this, 1, (os.getpid(),)) == "worker"
    found = Watch(os.getpid(), (), 1.0).end()
    assert found[0].name == "supervisor"
    assert found[0].rss[0] > 2**20


def test_a_server_elsewhere_is_not_watched() -> None:
    assert Watch(None, (), 1.0).end() == []
