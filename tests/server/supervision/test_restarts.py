"""When a child that has ended is started again."""

from __future__ import annotations

import pytest
from cascade_server.supervision.restarts import RestartConfig, Restarts, ended

CONFIG = RestartConfig()


def pauses(*lived: float) -> list[float]:
    """Before each next start, of processes that lived so many seconds."""
    restarts, found = Restarts(), []
    for seconds in lived:
        restarts, pause = ended(restarts, CONFIG, seconds)
        found.append(pause)
    return found


def test_the_first_is_at_once_and_the_rests_grow_to_a_limit() -> None:
    found = pauses(*[0.2] * 12)
    assert found[:5] == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8])
    assert found[-1] == CONFIG.longest_pause


def test_one_that_has_worked_is_started_at_once() -> None:
    assert pauses(0.2, 0.2, 0.2, CONFIG.healthy, 0.2) == pytest.approx([0.0, 0.1, 0.2, 0.0, 0.1])


def test_many_failures_do_not_overflow() -> None:
    assert ended(Restarts(10_000), CONFIG, 0.0)[1] == CONFIG.longest_pause
