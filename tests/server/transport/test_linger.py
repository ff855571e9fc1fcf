"""The event loop stays awake for calls that come soon, and sleeps where they do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cascade_server.transport.linger import Linger, LingerConfig, after_gap

# In microseconds, as the clocks below.
CONFIG = LingerConfig(most=100.0, share=0.8, keep=0.75)


class TestShare:
    """Of gaps that are short."""

    def test_grows_with_each_of_them(self) -> None:
        assert after_gap(0.0, 100.0, CONFIG) == 0.25
        assert after_gap(0.25, 0.0, CONFIG) == 0.4375

    def test_falls_with_each_that_is_too_long_to_wait_for(self) -> None:
        assert after_gap(1.0, 101.0, CONFIG) == 0.75

    def test_calls_that_come_by_chance_are_not_worth_it(self) -> None:
        share = 1.0
        for _ in range(100):
            for gap in (50.0, 50.0, 500.0):
                share = after_gap(share, gap, CONFIG)
        assert share < CONFIG.share


class Loop:
    """An event loop whose every turn takes ten microseconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[Callable[[], None]] = []

    def soon(self, call: Callable[[], None]) -> None:
        self._due.append(call)

    def awake_after(self, seconds: float) -> bool:
        """Whether it does not sleep yet, so long from now."""
        until = self.now + seconds
        while self._due and self.now < until:
            due, self._due = self._due, []
            self.now += 10.0
            for call in due:
                call()
        self.now = max(self.now, until)
        return bool(self._due)


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def linger(loop: Loop) -> Linger:
    return Linger(CONFIG, loop.soon, lambda: loop.now)


def awake(linger: Linger, loop: Loop, gap: float, count: int) -> list[bool]:
    """Whether the loop is awake when the next of some calls comes, each so long after another."""
    found = []
    for _ in range(count):
        linger.heard()
        found.append(loop.awake_after(gap))
    return found


class TestLooking:
    """With a loop that is no real one; a call is two turns of it."""

    def test_once_the_next_call_has_come_soon_for_a_while(self, linger: Linger, loop: Loop) -> None:
        # 1 - .75 ** 5 is below .8, 1 - .75 ** 6 above it.
        assert awake(linger, loop, 50.0, 9) == [False] * 6 + [True] * 3

    def test_no_longer_than_allowed(self, linger: Linger, loop: Loop) -> None:
        awake(linger, loop, 50.0, 20)
        linger.heard()
        assert loop.awake_after(20.0 + CONFIG.most - 10.0)
        assert not loop.awake_after(20.0)

    def test_rare_calls_are_slept_for(self, linger: Linger, loop: Loop) -> None:
        assert not any(awake(linger, loop, 1e6, 20))

    def test_not_at_all_if_none_is_allowed(self, loop: Loop) -> None:
        linger = Linger(LingerConfig(most=0.0), loop.soon, lambda: loop.now)
        assert not any(awake(linger, loop, 0.0, 20))

    def test_work_is_not_taken_for_waiting(self, linger: Linger, loop: Loop) -> None:
        awake(linger, loop, 50.0, 20)

        def work() -> None:
            loop.now += 1e6

        for _ in range(20):  # each comes soon after work that takes long
            linger.heard()
            loop.soon(work)
            loop.awake_after(1e6 + 40.0)
        linger.heard()
        assert loop.awake_after(50.0)
