"""Ticks of an idle GPU; time is the test's."""

from __future__ import annotations

import gc

import pytest
from cascade_server.engines.gpu.keep_warm import KeepWarm, due

from tests.server.engines.gpu.conftest import Both


@pytest.mark.parametrize(
    ("now", "last_run", "left"), [(10.0, 9.9, 0.15), (10.0, 9.75, 0.0), (10.0, 1.0, 0.0)]
)
def test_a_tick_is_due_after_a_while_without_a_run(
    now: float, last_run: float, left: float
) -> None:
    assert due(now, last_run, 0.25) == pytest.approx(left)


class Ticked:
    def __init__(self, clock: list[float]) -> None:
        self.clock, self.last_run, self.ticks = clock, 0.0, 0

    def tick(self) -> None:
        self.ticks += 1
        self.last_run = self.clock[0]


class TestKeepWarm:
    """The loop around the decision."""

    def test_it_ticks_when_idle_and_not_when_busy(self) -> None:
        clock = [0.0]
        what = Ticked(clock)
        waits: list[float] = []

        def wait(seconds: float) -> bool:
            waits.append(seconds)
            clock[0] += seconds
            if len(waits) == 3:
                what.last_run = clock[0] - 0.1  # a request came
            return len(waits) == 5

        KeepWarm(what, 0.25, lambda: clock[0], wait).run()
        assert waits == pytest.approx([0.25, 0.25, 0.25, 0.15, 0.25])
        assert what.ticks == 3

    def test_it_ends_with_what_it_keeps_warm(self) -> None:
        what = [Ticked([0.0])]
        waited = []

        def wait(seconds: float) -> bool:
            waited.append(seconds)
            what.clear()
            gc.collect()
            return False

        KeepWarm(what[0], wait=wait).run()
        assert len(waited) == 1

    def test_a_tick_that_fails_is_the_last_and_is_logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        what = Ticked([0.0])
        what.tick = lambda: 1 / 0  # type: ignore[method-assign]
        KeepWarm(what, 0.25, lambda: 1.0, lambda _: False).run()
        assert caplog.messages == ["the GPU is kept warm no more"]

    def test_a_tick_draws_a_row(self, both: Both) -> None:
        before = both.device.waited
        both.lanes.tick()
        assert (both.lanes.ticks, both.device.waited) == (1, before + 1)
