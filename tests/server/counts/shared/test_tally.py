"""Counters by age: a count is in a window for all of it, and for at most one cell longer."""

from __future__ import annotations

import pytest
from cascade_server.counts.shared.tally import COARSE, FINE, MIDDLE, Tally
from cascade_server.objectives.burn import WINDOWS
from hypothesis import given
from hypothesis import strategies as st

DAY = 86_400
MONTH = 30 * DAY
START = 1_800_000_000.0
CELLS = {**dict.fromkeys(("5m", "30m", "1h"), FINE[0]), **dict.fromkeys(("6h", "1d", "3d"), 300)}


def count(tally: Tally, now: float, amount: int = 1) -> None:
    if not tally.began <= now < tally.until:
        tally.fold(now)
    tally.open[0] += amount


class TestWindows:
    """Sums of what is young enough."""

    @pytest.mark.parametrize("name", WINDOWS)
    def test_a_count_leaves_each_window_when_it_is_too_old(self, name: str) -> None:
        tally, window = Tally(1, MONTH, START), WINDOWS[name]
        count(tally, START)
        assert tally.over(START + window, window) == [1]
        assert tally.over(START + window + CELLS[name], window) == [0]

    def test_a_month(self) -> None:
        tally = Tally(1, MONTH, START)
        count(tally, START)
        count(tally, START + 29 * DAY, 5)
        assert tally.over(START + MONTH, MONTH) == [6]
        assert tally.over(START + MONTH + COARSE, MONTH) == [5]

    def test_a_window_shorter_than_the_longest_burn_rate(self) -> None:
        tally = Tally(1, DAY, START)
        count(tally, START)
        assert tally.over(START + 2 * DAY, MIDDLE[1]) == [1]

    def test_nothing_was_counted(self) -> None:
        assert Tally(2, MONTH, START).over(START, 300).tolist() == [0, 0]

    @given(
        st.lists(st.tuples(st.floats(0, 7000), st.integers(1, 9)), max_size=30),
        st.floats(0, 4000),
    )
    def test_as_if_every_count_were_kept(
        self, waits: list[tuple[float, int]], after: float
    ) -> None:
        """Against a list of everything: what is surely young enough, and what may be."""
        tally, events, now = Tally(1, MONTH, START), [], START
        for wait, amount in waits:
            now += wait
            count(tally, now, amount)
            events.append((now, amount))
        now += after
        for name, window in WINDOWS.items():
            (found,) = tally.over(now, window)
            surely = sum(amount for at, amount in events if at >= now - window)
            perhaps = sum(amount for at, amount in events if at > now - window - CELLS[name])
            assert surely <= found <= perhaps


class TestTheClockIsSetBack:
    """Counts keep their order, and age from the new time on."""

    @pytest.mark.parametrize("back", [1, 40, 5 * DAY, 400 * DAY])
    def test_they_are_still_there_and_leave_in_time(self, back: float) -> None:
        tally = Tally(1, MONTH, START)
        count(tally, START)
        count(tally, START - back)
        assert tally.over(START - back, 300) == [2]
        assert tally.over(START - back + 300 + 2 * FINE[0], 300) == [0]
        assert tally.over(START - back + MONTH, MONTH) == [2]
        assert tally.over(START - back + MONTH + 2 * COARSE, MONTH) == [0]
