"""Seconds that go on evenly while the wall clock is set."""

from __future__ import annotations

import time

import pytest
from cascade_server.counts.shared.steady_clock import LEAST_STEP, SteadyClock, since_boot
from cascade_server.counts.shared.tally import moved

HOUR, MONTH = 3600.0, 31 * 86_400.0


class Machine:
    """A machine with two clocks, of which one can be set.

    Attributes:
        passed: seconds since it was started.
        ahead: by which its wall clock has been set.
    """

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.started, self.passed, self.ahead = now, 0.0, 0.0

    def wall(self) -> float:
        return self.started + self.passed + self.ahead

    def steady(self) -> float:
        return 1000.0 + self.passed

    def clock(self) -> SteadyClock:
        return SteadyClock(self.wall, self.steady)


@pytest.mark.parametrize("step", [HOUR, -HOUR, MONTH, -MONTH])
def test_what_is_set_is_the_wall_clock_alone(step: float) -> None:
    machine = Machine()
    clock, began = machine.clock(), machine.wall()
    machine.passed += 10
    machine.ahead = step
    assert (clock(), clock.ahead(), clock.wall()) == (began + 10, step, machine.wall())
    machine.passed += 2
    machine.ahead = 0.0
    assert (clock(), clock.ahead(), clock.wall()) == (began + 12, 0, machine.wall())


def test_begins_where_the_wall_clock_is() -> None:
    machine = Machine()
    machine.ahead = HOUR
    assert machine.clock()() == machine.wall()


def test_two_that_see_a_step_at_different_moments_agree() -> None:
    """As processes do, which share one that was made before they parted."""
    machine = Machine()
    before, began = machine.clock(), machine.wall()
    machine.ahead = HOUR
    machine.passed += 1
    seen = before.ahead()
    machine.ahead = 0.0
    assert (seen, before.ahead(), before()) == (HOUR, 0, began + 1)


def test_what_two_clocks_differ_by_is_no_step() -> None:
    machine = Machine()
    clock = machine.clock()
    for off in (1e-6, -1e-6, 1.0, -LEAST_STEP + 0.1):
        machine.ahead = off
        assert clock.ahead() == 0
        assert clock.wall() == clock()


def test_another_clock_may_be_trusted() -> None:
    machine = Machine()
    trusted, itself = SteadyClock.of(machine.wall), machine.clock()
    assert SteadyClock.of(itself) is itself
    machine.ahead = HOUR
    assert (trusted(), trusted.ahead()) == (machine.wall(), 0)


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="Linux alone has this clock")
def test_goes_on_while_the_machine_is_suspended() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    now = since_boot()
    assert before <= now <= time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.mark.parametrize(
    ("step", "seconds", "newest"),
    [
        (10, 0, 1000),
        (10, 3600, 1360),
        (10, -3600, 640),
        # Half a cell: rather younger.
        (3600, 1800, 1001),
        (3600, -1800, 1000),
    ],
)
def test_cells_by_a_clock_that_is_ahead(step: int, seconds: float, newest: int) -> None:
    assert moved(1000, step, seconds) == newest
