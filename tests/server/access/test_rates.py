"""Token buckets and days, by a clock of the test's."""

from __future__ import annotations

from cascade_server.access import rates
from cascade_server.access.grants import Rate
from hypothesis import given
from hypothesis import strategies as st

SECOND = 10**9


class TestBuckets:
    """As many as the bucket holds at once, then as many as come back."""

    def test_a_burst_and_then_the_rate(self) -> None:
        rate, full, let_in = Rate(10.0, 5.0), 0, []
        for tick in range(100):
            now = 100 * SECOND + tick * SECOND // 50
            if not rates.wait(full, now, rate):
                full = rates.full_at(full, now, rate)
                let_in.append(tick)
        # 5 at once, and 10 a second for the 1.98 s after the first.
        assert len(let_in) == 5 + 19
        assert let_in[:5] == [0, 1, 2, 3, 4]

    def test_who_waits_as_long_as_told_is_let_in(self) -> None:
        rate, now = Rate(4.0, 2.0), 50 * SECOND
        full = rates.full_at(0, now, rate, 2)
        wait = rates.wait(full, now, rate)
        assert wait == SECOND // 4
        assert not rates.wait(full, now + wait, rate)

    def test_many_are_let_in_at_once_and_waited_off(self) -> None:
        rate = Rate(100.0, 50.0)
        assert not rates.wait(0, SECOND, rate)
        full = rates.full_at(0, SECOND, rate, 5000)
        assert rates.wait(full, SECOND, rate) == 50 * SECOND - SECOND // 2 + SECOND // 100

    @given(
        st.floats(0.01, 1e4),
        st.floats(1, 1e4),
        st.lists(st.integers(0, 2 * SECOND), min_size=1, max_size=50),
    )
    def test_never_more_than_burst_and_rate_allow(
        self, per_second: float, burst: float, gaps: list[int]
    ) -> None:
        rate, full, now, let_in = Rate(per_second, burst), 0, 1000 * SECOND, 0
        for gap in gaps:
            now += gap
            if not rates.wait(full, now, rate):
                full = rates.full_at(full, now, rate)
                let_in += 1
        seconds = now / SECOND - 1000
        # Nanoseconds are rounded, by half a one for each token.
        assert let_in <= (burst + per_second * seconds) * (1 + per_second * 1e-9) + 1e-3

    def test_what_is_given_back_may_be_taken_again(self) -> None:
        rate, now = Rate(10.0, 50.0), 1000 * SECOND
        kept = rates.full_at(0, now, rate, 20)
        full = rates.full_at(kept, now, rate, 30)
        assert rates.wait(full, now, rate)
        held = rates.Held(30, 0, full)
        assert rates.given_back(full, now + SECOND, rate, held) == kept

    @given(
        st.floats(0.01, 1e4),
        st.floats(1, 1e4),
        st.lists(
            st.tuples(st.integers(0, 2 * SECOND), st.sampled_from(["keep", "hold", "give back"])),
            min_size=1,
            max_size=50,
        ),
    )
    def test_nothing_is_gained_by_what_is_given_back(
        self, per_second: float, burst: float, steps: list[tuple[int, str]]
    ) -> None:
        rate, full, now, kept = Rate(per_second, burst), 0, 1000 * SECOND, 0
        holding: list[rates.Held] = []
        for gap, step in steps:
            now += gap
            if step == "give back":
                if holding:
                    full = rates.given_back(full, now, rate, holding.pop(0))
            elif not rates.wait(full, now, rate):
                full = rates.full_at(full, now, rate)
                if step == "hold":
                    holding.append(rates.Held(1, 0, full))
                kept += step == "keep"
        seconds = now / SECOND - 1000
        assert kept <= (burst + per_second * seconds) * (1 + per_second * 1e-9) + 1e-3

    @given(st.floats(0.01, 1e4), st.floats(1, 1e4), st.integers(-SECOND, 10 * SECOND))
    def test_one_step_decides_as_two(self, per_second: float, burst: float, owed: int) -> None:
        rate, now = Rate(per_second, burst), 1000 * SECOND
        found, waits = rates.taken(now + owed, now, rate), rates.wait(now + owed, now, rate)
        assert found == (-waits or rates.full_at(now + owed, now, rate))


class TestDays:
    """Days of UTC."""

    def test_they_begin_at_midnight(self) -> None:
        assert rates.day_of(86_399.9) == 0
        assert rates.day_of(86_400.0) == 1


def test_nobody_is_told_to_wait_for_hours() -> None:
    assert rates.pushback_ms(1e9) == 60_000
    assert rates.pushback_ms(0.0001) == 1
