"""What the pool gives out, what it drops, and what it knows of what is asked for."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from cascade_server.store.pool import (
    ROW_OVERHEAD,
    STOCK_OVERHEAD,
    Demand,
    Key,
    Pool,
    PoolConfig,
    condition_of,
    of_condition,
)

A, B, C = (Key("credit/1/x", name) for name in (b"a", b"b", b"c"))


def pool(max_bytes: int = 10**6, **config: float) -> Pool:
    return Pool(PoolConfig(max_bytes, **config), ["credit/1/x"])  # type: ignore[arg-type]


def give(pool: Pool, key: Key, draws: int = 1, now: float = 0.0) -> tuple[bytes, ...]:
    taken = pool.take([key], draws, now)
    return () if taken is None else taken.rows


class TestTaking:
    """Whole answers or none, and no row twice."""

    def test_a_row_is_given_out_once(self) -> None:
        of = pool()
        of.add(A, [b"1", b"2"], 3, now=0.0)
        assert give(of, A) == (b"1",)
        assert give(of, A) == (b"2",)
        assert give(of, A) == ()

    def test_too_few_are_none_and_stay(self) -> None:
        of = pool()
        of.add(A, [b"1", b"2"], 3, now=0.0)
        assert give(of, A, draws=3) == ()
        assert give(of, A, draws=2) == (b"1", b"2")

    def test_rows_of_several_conditions_in_the_order_of_the_request(self) -> None:
        of = pool()
        of.add(A, [b"1", b"2", b"3", b"4"], 3, now=0.0)
        of.add(B, [b"5", b"6"], 7, now=0.0)
        taken = of.take([A, B, A], 2, now=0.0)
        assert taken is not None
        assert taken.rows == (b"1", b"2", b"5", b"6", b"3", b"4")
        assert taken.steps == 7

    def test_if_one_condition_lacks_rows_the_others_keep_theirs(self) -> None:
        of = pool()
        of.add(A, [b"1"], 3, now=0.0)
        assert of.take([A, B], 1, now=0.0) is None
        assert of.take([A, A], 1, now=0.0) is None
        assert give(of, A) == (b"1",)

    def test_a_row_is_given_out_as_often_as_allowed_and_not_twice_in_one_answer(self) -> None:
        of = pool(max_reuse=2)
        of.add(A, [b"1", b"2"], 3, now=0.0)
        assert give(of, A, draws=3) == ()
        given = [give(of, A)[0] for _ in range(4)]
        assert sorted(given) == [b"1", b"1", b"2", b"2"]
        assert given[:2] == [b"1", b"2"]
        assert give(of, A) == ()

    def test_too_old_rows_are_dropped(self) -> None:
        of = pool(max_age=10.0)
        of.add(A, [b"1"], 3, now=0.0)
        of.add(A, [b"2"], 3, now=5.0)
        assert give(of, A, now=10.5) == (b"2",)
        assert give(of, A, now=10.5) == ()
        assert of.statistics().expired_rows == 1

    def test_old_rows_do_not_make_an_answer_whole(self) -> None:
        of = pool(max_age=10.0)
        of.add(A, [b"1"], 3, now=0.0)
        of.add(A, [b"2"], 3, now=5.0)
        assert give(of, A, draws=2, now=10.5) == ()
        assert give(of, A, draws=1, now=10.5) == (b"2",)


class TestRoom:
    """Bounded in bytes; what is used last goes first."""

    def test_empty_it_takes_nothing(self) -> None:
        of = pool()
        of.add(A, [b"12345"] * 3, 3, now=0.0)
        assert of.bytes == 3 * (5 + ROW_OVERHEAD) + len(A.condition) + STOCK_OVERHEAD
        give(of, A, draws=3)
        assert of.bytes == 0
        assert of.statistics().conditions == 0

    def test_what_is_expected_to_be_used_last_goes(self) -> None:
        size = 4 * (1 + ROW_OVERHEAD) + 2 * (1 + STOCK_OVERHEAD)
        of = pool(max_bytes=size - 1)
        of.add(A, [b"1", b"2"], 3, now=0.0)
        of.add(B, [b"3", b"4"], 3, now=0.0)
        rates = {A: 0.1, B: 5.0}
        dropped: list[float] = []
        of.make_room(lambda key, rows: rows / rates[key], dropped.append)
        assert (of.stock(A), of.stock(B)) == (1, 2)
        assert dropped == [20.0]
        assert of.statistics().evicted_rows == 1

    def test_conditions_nobody_asks_for_any_more_go_before_others(self) -> None:
        of = pool(max_bytes=STOCK_OVERHEAD + 3 * (1 + ROW_OVERHEAD) + 1)
        of.add(A, [b"1"], 3, now=0.0)
        of.add(B, [b"1", b"2", b"3"], 3, now=0.0)
        of.make_room(lambda key, rows: math.inf if key == A else float(rows), lambda _: None)
        assert (of.stock(A), of.stock(B)) == (0, 3)

    def test_a_sweep_drops_what_is_too_old_unasked(self) -> None:
        of = pool(max_age=10.0)
        of.add(A, [b"1"], 3, now=0.0)
        of.add(B, [b"1"], 3, now=8.0)
        of.sweep(now=11.0)
        assert (of.stock(A), of.stock(B)) == (0, 1)

    def test_it_takes_about_as_much_memory_as_it_says(self) -> None:
        """Within a third, of rows and conditions of credit's size."""
        of = pool(max_bytes=10**9)
        keys = [Key("credit/1/x", i.to_bytes(2) * 90) for i in range(300)]
        tracemalloc.start()
        for key in keys:
            of.add(key, [bytes(420) for _ in range(20)], 24, now=0.0)
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert of.bytes == pytest.approx(taken, rel=1 / 3)

    def test_counts(self) -> None:
        of = pool()
        of.add(A, [b"1", b"2"], 3, now=0.0)
        give(of, A)
        give(of, B)
        found = of.statistics().releases["credit/1/x"]
        assert (found.hits, found.misses, found.refilled_rows, found.rows) == (1, 1, 2, 1)


def test_a_condition_is_read_back() -> None:
    tokens, observed = np.array([3, 0, 7], np.int32), np.array([True, False, True])
    again = of_condition(condition_of(tokens, observed), 3)
    assert again[0].tolist() == [3, 0, 7]
    assert again[1].tolist() == [True, False, True]


class TestDemand:
    """Rows a second, fading; bounded in keys."""

    def test_a_steady_stream_has_its_rate(self) -> None:
        demand = Demand(half_life=10.0)
        for tenth in range(1000):
            demand.note(A, 3, now=tenth / 10)
        # Sampled at ten a second, and 100 s of an infinite past: within 2 %.
        assert demand.rate(A, now=100.0) == pytest.approx(30.0, rel=0.02)

    def test_what_is_no_longer_asked_for_fades_by_half(self) -> None:
        demand = Demand(half_life=10.0)
        demand.note(A, 8, now=0.0)
        before = demand.rate(A, now=0.0)
        assert demand.rate(A, now=10.0) == pytest.approx(before / 2)
        assert demand.rate(B, now=10.0) == 0

    def test_rates_stay_finite_over_a_long_life(self) -> None:
        demand = Demand(half_life=1.0)
        demand.note(A, 1, now=0.0)
        for second in range(0, 5000, 100):
            demand.note(B, 1, now=float(second))
        assert demand.rate(B, now=4900.0) == pytest.approx(math.log(2))
        assert demand.rate(A, now=4900.0) == pytest.approx(0.0)

    @pytest.mark.parametrize("half_lives", [299, 301, 1023, 1025, 1e6])
    def test_nobody_may_have_asked_for_any_time(self, half_lives: float) -> None:
        demand = Demand(half_life=2.0)
        demand.note(A, 1, now=0.0)
        now = 2.0 * half_lives
        assert demand.rate(A, now) == pytest.approx(0.0)
        assert demand.rates(0, 1, now) == [(A, pytest.approx(0.0))]
        demand.note(B, 1, now)
        assert demand.rate(B, now) == pytest.approx(math.log(2) / 2.0)

    def test_a_clock_that_is_stepped_back(self) -> None:
        demand = Demand(half_life=1.0, now=1e6)
        demand.note(A, 10, 1e6)
        before = demand.rate(A, 1e6)
        demand.note(A, 10, 0.0)
        assert demand.rate(A, 0.0) == pytest.approx(2 * before)

    def test_keys_are_bounded_and_the_wanted_ones_stay(self) -> None:
        demand = Demand(half_life=1e9, most=64)
        for _ in range(100):
            demand.note(A, 1, now=0.0)
            demand.note(B, 1, now=0.0)
        for i in range(10_000):
            demand.note(Key("credit/1/x", str(i).encode()), 1, now=0.0)
        assert len(demand) == 64
        assert demand.rate(A, 0.0) == pytest.approx(demand.rate(B, 0.0))
        assert demand.rate(A, 0.0) == pytest.approx(100 * math.log(2) / 1e9)

    def test_a_part_of_the_keys(self) -> None:
        demand = Demand(half_life=10.0)
        for key in (A, B, C):
            demand.note(key, 1, now=0.0)
        assert [key for key, _ in demand.rates(1, 9, now=0.0)] == [B, C]
