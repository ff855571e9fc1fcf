"""The event loop stays awake for calls that come soon, and sleeps where they do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cascade_server.transport.linger import Linger, LingerConfig, after_gap

# In microseconds, as the clocks below.
CONFIG = LingerConfig(most=100.0, first=25.0)


class TestHowLong:
    """Decided from the last gap."""

    def test_longer_where_that_would_have_been_worth_it(self) -> None:
        assert after_gap(0.0, 60.0, CONFIG) == 25.0
        assert after_gap(25.0, 60.0, CONFIG) == 50.0

    def test_never_longer_than_allowed(self) -> None:
        assert after_gap(90.0, 95.0, CONFIG) == 100.0

    def test_the_same_where_it_was_enough(self) -> None:
        assert after_gap(80.0, 60.0, CONFIG) == 80.0

    def test_not_at_all_after_a_gap_that_is_too_long_to_wait_for(self) -> None:
        assert after_gap(100.0, 101.0, CONFIG) == 0.0


class Loop:
    """An event loop whose every turn takes ten microseconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[Callable[[], None]] = []

    def soon(self, call: Callable[[], None]) -> None:
        self._due.append(call)

    def turns(self) -> int:
        """Until it would sleep; how many they were."""
        count = 0
        while self._due:
            due, self._due = self._due, []
            self.now += 10.0
            count += 1
            for call in due:
                call()
        return count


@pytest.fixture
def loop() -> Loop:
    return Loop()


def calls(linger: Linger, loop: Loop, gap: float, count: int) -> list[int]:
    """Turns of the loop after each of some calls, that come so long after it has slept."""
    out = []
    for _ in range(count):
        linger.heard()
        out.append(loop.turns())
        loop.now += gap
    return out


class TestLooking:
    """With a loop that is no real one."""

    def test_grows_while_the_next_call_comes_soon(self, loop: Loop) -> None:
        linger = Linger(CONFIG, loop.soon, lambda: loop.now)
        # 25, 50 and 100 µs are looks in as many turns of 10 µs, after the two that work.
        assert calls(linger, loop, 30.0, 4) == [2, 5, 7, 12]

    def test_a_rare_call_is_slept_for(self, loop: Loop) -> None:
        linger = Linger(CONFIG, loop.soon, lambda: loop.now)
        assert calls(linger, loop, 1e6, 5) == [2] * 5

    def test_not_at_all_if_none_is_allowed(self, loop: Loop) -> None:
        linger = Linger(LingerConfig(most=0.0), loop.soon, lambda: loop.now)
        assert calls(linger, loop, 1.0, 3) == [0] * 3

    def test_two_that_come_together_are_one_wait(self, loop: Loop) -> None:
        linger = Linger(CONFIG, loop.soon, lambda: loop.now)
        linger.heard()
        linger.heard()
        assert loop.turns() == 2

    def test_work_is_not_taken_for_waiting(self, loop: Loop) -> None:
        linger = Linger(CONFIG, loop.soon, lambda: loop.now)
        calls(linger, loop, 30.0, 2)

        def work() -> None:
            loop.now += 1e6

        def read() -> None:
            linger.heard()
            loop.soon(work)

        linger.heard()
        loop.soon(read)  # while it looks
        assert loop.turns() == 8
        linger.heard()
        assert loop.turns() == 7  # the work was no gap
