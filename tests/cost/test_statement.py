"""A bill: usage times prices, nothing twice, nothing lost, and what was saved."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from cascade_cost import Compute, Prices, Statement, statement
from cascade_cost.prices import Reserved
from hypothesis import given
from hypothesis import strategies as st

from tests.cost.made_up import GIB, HOUR, busy, usage

# A core second costs 1, a GiB second a tenth, a GPU second 10.
PRICES = Prices("EUR", Decimal(3600), Decimal(360), Decimal(36_000))


def bill(**reserved: Any) -> Statement:
    prices = Prices("EUR", PRICES.core_hour, PRICES.gib_hour, reserved=Reserved(**reserved))
    return statement(busy(), prices)


class TestLines:
    """Who pays for what."""

    def test_a_tier_costs_its_processors_and_the_memory_in_which_they_computed(self) -> None:
        student = statement(busy(), PRICES).by_tier()["student"]
        assert student.core_cost == Decimal(1000)
        # The worker has a GiB, and computed in it for a thousand seconds.
        assert student.memory_cost == pytest.approx(Decimal(100))
        assert student.per_10k == pytest.approx(Decimal(1100))

    def test_rows_made_for_the_pool_are_the_pools_cost_and_not_its_rows(self) -> None:
        pool = statement(busy(), PRICES).by_tier()["pool"]
        assert pool.core_cost == Decimal(410)
        assert (pool.rows, pool.answers, pool.tokens) == (2_000, 2_000, 6_000)

    def test_an_executors_memory_is_the_jobs(self) -> None:
        job = statement(busy(), PRICES).by_tier()["job"]
        assert job.gib_seconds == pytest.approx(Decimal(400))

    def test_messages_of_generate_are_the_teachers(self) -> None:
        found = usage(
            Compute("credit", "teacher", "", 1.0, 0.0, 1, 1, 3),
            Compute("credit", "generate", "", 2.0, 0.0, 1, 100, 2400),
        )
        (line,) = statement(found, PRICES).lines
        assert (line.tier, line.rows, line.core_cost) == ("teacher", 101, Decimal(3))

    def test_tables_and_tenants_add_up_to_the_tiers(self) -> None:
        found = statement(busy(), PRICES)
        whole = sum(line.cost for line in found.by_tier().values())
        for key in (lambda line: line.table, lambda line: line.tenant):
            assert sum(line.cost for line in found.by(key).values()) == pytest.approx(whole)
        assert found.by(lambda line: line.tenant)["b"].core_cost == Decimal(100)

    def test_nothing_is_lost_and_nothing_is_twice(self) -> None:
        found = statement(busy(), PRICES)
        assert found.total.core_seconds == Decimal(2810)
        held = Decimal(HOUR) * Decimal("3.25") + 400
        assert found.total.gib_seconds == pytest.approx(held)
        assert found.idle.core_seconds == Decimal(2810 - 2440)

    def test_a_gpu_is_charged(self) -> None:
        found = statement(usage(Compute("credit", "teacher", "", 1.0, 2.0, 1, 1, 1)), PRICES)
        assert found.by_tier()["teacher"].gpu_cost == Decimal(20)

    def test_a_server_that_nobody_asks_is_idle(self) -> None:
        found = statement(usage(), PRICES)
        assert (found.lines, found.savings.ratio, found.total.per_10k) == ((), None, None)

    def test_what_is_reserved_and_not_used_is_a_line_of_its_own(self) -> None:
        found = bill(cores=Decimal(2), memory_gib=Decimal(8))
        assert found.unused is not None
        assert found.unused.core_seconds == Decimal(2 * 3600 - 2810)
        # All that is paid for is in the bill.
        assert found.total.core_seconds == Decimal(7200)
        assert found.total.gib_seconds == pytest.approx(Decimal(8 * 3600))

    def test_no_more_is_unused_than_there_is(self) -> None:
        found = bill(cores=Decimal("0.1"))
        assert found.unused is not None
        assert found.unused.cost == 0

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["credit", "adult"]),
                st.sampled_from(
                    ["pool", "cache", "student", "teacher", "job", "refill", "generate"]
                ),
                st.sampled_from(["", "a"]),
                st.floats(0, 1e9),
                st.integers(0, 10**9),
            ),
            max_size=12,
            unique_by=lambda each: each[:3],
        )
    )
    def test_any_usage_is_billed(self, some: list[tuple[str, str, str, float, int]]) -> None:
        compute = [
            Compute(table, tier, tenant, seconds, 0.0, rows, rows, rows)
            for table, tier, tenant, seconds, rows in some
        ]
        found = statement(usage(*compute), PRICES)
        charged = sum(line.core_seconds for line in found.lines)
        # Decimal has 28 digits.
        assert charged == pytest.approx(sum(Decimal(each.seconds) for each in compute))
        assert all(line.cost >= 0 for line in found.lines)


class TestSavings:
    """Beside having the teacher draw what pool, cache and student gave."""

    def test_the_teachers_price_is_of_answers_and_values(self) -> None:
        found = usage(
            Compute("credit", "student", "", 10.0, 0.0, 100, 400, 1200),
            # 20 calls of 3 values: 0.1 s for each value, as in large batches, and 0.7 s for a call.
            Compute("credit", "teacher", "", 20.0, 0.0, 20, 20, 60),
            Compute("credit", "generate", "", 60.0, 0.0, 1, 30, 600),
            Compute("credit", "refill", "", 20.0, 0.0, 1, 10, 200),
            Compute("adult", "cache", "", 10.0, 0.0, 1, 1, 1),
        )
        savings = statement(found, Prices("EUR", Decimal(3600))).savings
        assert savings.by_teacher == pytest.approx(Decimal(100) * Decimal("0.7") + 120)
        # Also what was made for the pool.
        assert savings.spent == Decimal(30)
        assert (savings.without, savings.at_least) == (("adult",), ())

    def test_large_batches_alone_say_the_least_that_was_saved(self) -> None:
        found = usage(
            Compute("credit", "student", "", 10.0, 0.0, 100, 100, 300),
            Compute("credit", "generate", "", 10.0, 0.0, 1, 10, 30),
        )
        savings = statement(found, PRICES).savings
        assert savings.ratio == pytest.approx(0.9)
        assert savings.at_least == ("credit",)

    def test_single_calls_alone_are_a_price_by_value(self) -> None:
        found = usage(
            Compute("credit", "student", "", 10.0, 0.0, 100, 100, 300),
            Compute("credit", "teacher", "", 10.0, 0.0, 1, 10, 30),
        )
        savings = statement(found, PRICES).savings
        assert (savings.ratio, savings.at_least) == (pytest.approx(0.9), ())

    def test_rows_that_nobody_asked_for_cost_more_than_they_save(self) -> None:
        found = usage(Compute("credit", "refill", "", 10.0, 0.0, 1, 10, 30))
        savings = statement(found, PRICES).savings
        assert savings.saved == Decimal(-10)

    def test_nothing_is_said_without_a_teacher(self) -> None:
        found = usage(Compute("credit", "student", "", 10.0, 0.0, 100, 100, 300))
        savings = statement(found, PRICES).savings
        assert (savings.ratio, savings.without) == (None, ("credit",))


def test_an_earlier_look_is_taken_off() -> None:
    before = busy()
    now = busy()
    assert statement(now.since_then(before), PRICES).total.cost == 0
    assert now.since_then(before).process("worker").memory_bytes == GIB
