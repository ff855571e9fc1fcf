"""How many requests are let in."""

from __future__ import annotations

import math

import pytest
from cascade_server.cascade.admission import (
    Limit,
    LimitConfig,
    admits,
    crowded,
    pushback_ms,
    updated,
)
from cascade_server.terms import Priority

CONFIG = LimitConfig()
REALTIME, OFFLINE = Priority.REALTIME, Priority.OFFLINE


def after(
    limit: Limit,
    seconds: float,
    times: int,
    inside: int | None = None,
    config: LimitConfig = CONFIG,
) -> Limit:
    for _ in range(times):
        limit = updated(limit, config, seconds, int(limit.value) if inside is None else inside)
    return limit


class TestLimit:
    """Gradient2: more while latency is what it usually is, less when it grows."""

    def test_grows_while_latency_stays(self) -> None:
        assert after(Limit(20, usual=1e-3), 1e-3, 50).value > 80

    def test_shrinks_when_requests_take_longer(self) -> None:
        assert after(Limit(200, usual=1e-3), 10e-3, 20).value < 100

    def test_stays_while_the_server_is_idle(self) -> None:
        assert after(Limit(64, usual=1e-3), 1e-3, 100, inside=3).value == 64
        assert after(Limit(64, usual=1e-3), 10e-3, 10, inside=3).value == 64

    def test_keeps_between_its_bounds(self) -> None:
        assert after(Limit(20, usual=1e-3), 1e-3, 20_000).value == CONFIG.most
        assert after(Limit(20, usual=1e-6), 1.0, 200).value >= CONFIG.least

    def test_a_burst_that_is_answered_soon_is_no_reason_to_refuse(self) -> None:
        promises = LimitConfig(promised=50e-3)
        usual = Limit(64, usual=0.5e-3)
        assert after(usual, 5e-3, 20, config=promises).value > 64
        assert after(usual, 5e-3, 20).value < 64
        assert after(usual, 45e-3, 20, config=promises).value < 64

    def test_what_is_promised_bounds_what_can_become_usual(self) -> None:
        promises = LimitConfig(promised=50e-3)
        assert after(Limit(64, usual=40e-3), 40e-3, 500, config=promises).value < 64
        assert after(Limit(64, usual=40e-3), 40e-3, 500).value > 64

    def test_the_usual_latency_comes_down_fast(self) -> None:
        assert after(Limit(64, usual=1.0), 1e-3, 200, inside=1).usual < 0.01


@pytest.mark.parametrize(
    ("promised", "remaining", "expected"),
    [
        (50e-3, math.inf, 12.5e-3),
        (50e-3, 100e-3, 12.5e-3),
        (50e-3, 10e-3, 8e-3),
        (math.inf, 10e-3, 8e-3),
        (math.inf, math.inf, math.inf),
        (50e-3, -1.0, -0.8),
    ],
)
def test_who_may_wait_how_long(promised: float, remaining: float, expected: float) -> None:
    assert LimitConfig(promised=promised).patience(remaining) == pytest.approx(expected)


class TestAdmits:
    """Half of the limit is real time's, whatever offline does."""

    @pytest.mark.parametrize(
        ("realtime", "offline", "service", "expected"),
        [
            (0, 0, REALTIME, True),
            (99, 0, REALTIME, True),
            (100, 0, REALTIME, False),
            (49, 60, REALTIME, True),
            (50, 60, REALTIME, False),
            (0, 49, OFFLINE, True),
            (0, 50, OFFLINE, False),
            (99, 0, OFFLINE, True),
            (100, 0, OFFLINE, False),
        ],
    )
    def test_classes(self, realtime: int, offline: int, service: Priority, expected: bool) -> None:
        inside = {REALTIME: realtime, OFFLINE: offline}
        assert admits(Limit(100), CONFIG, inside, service) is expected


@pytest.mark.parametrize(
    ("limit", "waiting", "expected"),
    [(100, 24, False), (100, 25, True), (1, 0, False), (1, 1, True), (7.9, 1, True)],
)
def test_the_teacher_has_a_share_of_the_limit(limit: float, waiting: int, expected: bool) -> None:
    assert crowded(Limit(limit), CONFIG, waiting) is expected


def test_pushback_is_about_as_long_as_the_queue() -> None:
    assert pushback_ms(Limit(100, usual=0.01), 100) == 10
    assert pushback_ms(Limit(100, usual=0.01), 300) == 30
    assert pushback_ms(Limit(100), 100) == 1
    assert pushback_ms(Limit(1, usual=100.0), 1000) == 10_000
