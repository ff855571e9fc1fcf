"""Token buckets and days, by a clock of the test's."""

from __future__ import annotations

import pytest
from cascade_server.access import rates
from cascade_server.access.grants import Rate
from hypothesis import given
from hypothesis import strategies as st


class TestBuckets:
    """As many as the bucket holds at once, then as many as come back."""

    def test_a_burst_and_then_the_rate(self) -> None:
        rate, full, let_in = Rate(10.0, 5.0), 0.0, []
        for tick in range(100):
            now = 100.0 + tick / 50
            if not rates.wait(full, now, rate):
                full = rates.full_at(full, now, rate, 1)
                let_in.append(now)
        # 5 at once, and 10 a second for the 1.98 s after the first.
        assert len(let_in) == 5 + 19
        assert let_in[:5] == [100.0, 100.02, 100.04, 100.06, 100.08]

    def test_who_waits_as_long_as_told_is_let_in(self) -> None:
        rate, now = Rate(3.0, 2.0), 50.0
        full = rates.full_at(0.0, now, rate, 2)
        wait = rates.wait(full, now, rate)
        assert wait == pytest.approx(1 / 3)
        assert not rates.wait(full, now + wait, rate)

    def test_more_than_the_bucket_holds_is_let_in_when_it_is_full_and_waited_off(self) -> None:
        rate = Rate(100.0, 50.0)
        assert not rates.wait(0.0, 1.0, rate, 5000)
        full = rates.full_at(0.0, 1.0, rate, 5000)
        assert rates.wait(full, 1.0, rate) == pytest.approx(50 - 0.5 + 0.01)

    @given(
        st.floats(0.01, 1e4),
        st.floats(1, 1e4),
        st.lists(st.floats(0, 2), min_size=1, max_size=50),
    )
    def test_never_more_than_burst_and_rate_allow(
        self, per_second: float, burst: float, gaps: list[float]
    ) -> None:
        rate, full, now, let_in = Rate(per_second, burst), 0.0, 1000.0, 0
        for gap in gaps:
            now += gap
            if not rates.wait(full, now, rate):
                full = rates.full_at(full, now, rate, 1)
                let_in += 1
        assert let_in <= burst + per_second * (now - 1000.0) + 1e-3


class TestDays:
    """Days of UTC."""

    def test_they_begin_at_midnight(self) -> None:
        assert rates.day_of(86_399.9) == 0
        assert rates.day_of(86_400.0) == 1
        assert rates.left_of_day(86_400.0 + 1) == 86_399


def test_nobody_is_told_to_wait_for_hours() -> None:
    assert rates.pushback_ms(1e9) == 60_000
    assert rates.pushback_ms(0.0001) == 1
