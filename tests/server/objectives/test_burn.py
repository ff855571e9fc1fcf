"""Budgets and alerts, with the numbers of the SRE Workbook."""

from __future__ import annotations

import pytest
from cascade_server.objectives.burn import (
    WINDOWS,
    Alert,
    Events,
    alert_of,
    budget_remaining,
    burn_rate,
)

TARGET = 0.99


def burning(total: int = 100_000, **known: float) -> dict[str, Events]:
    """Windows whose budgets of a hundredth burn as fast as said, the others not at all."""
    rates = {name: known.get(f"in_{name}", 0.0) for name in WINDOWS}
    return {name: Events(round(total - total * rate / 100), total) for name, rate in rates.items()}


class TestBurnRate:
    """How many times faster than allowed."""

    @pytest.mark.parametrize(
        ("good", "total", "rate"),
        [(999, 1000, 1.0), (1000, 1000, 0.0), (0, 10, 1000.0), (9856, 10_000, 14.4), (0, 0, 0.0)],
    )
    def test_of_three_nines(self, good: int, total: int, rate: float) -> None:
        # 1 - .999 is not exactly .001 in binary.
        assert burn_rate(Events(good, total), 0.999) == pytest.approx(rate, rel=1e-12)


class TestBudget:
    """What is left of it."""

    @pytest.mark.parametrize(
        ("good", "left"), [(10_000, 1.0), (9995, 0.5), (9990, 0.0), (9980, -1.0)]
    )
    def test_of_three_nines(self, good: int, left: float) -> None:
        assert budget_remaining(Events(good, 10_000), 0.999) == pytest.approx(left, abs=1e-12)

    def test_is_whole_before_anything_happens(self) -> None:
        assert budget_remaining(Events(0, 0), 0.999) == 1.0


class TestAlerts:
    """Both windows of a pair have to burn: one says it matters, the other that it goes on."""

    @pytest.mark.parametrize(
        ("windows", "alert"),
        [
            (burning(), Alert.OK),
            (burning(in_5m=15, in_1h=15), Alert.PAGE),
            (burning(in_5m=14.4, in_1h=14.4), Alert.OK),
            (burning(in_5m=100), Alert.OK),
            (burning(in_1h=15, in_6h=2, in_3d=2), Alert.TICKET),
            (burning(in_30m=6.1, in_6h=6.1), Alert.PAGE),
            (burning(in_30m=6.1, in_6h=5.9), Alert.OK),
            (burning(in_6h=1.1, in_3d=1.1), Alert.TICKET),
            (burning(in_6h=0.9, in_3d=1.1), Alert.OK),
            (burning(in_6h=1.0, in_3d=1.0), Alert.OK),
        ],
    )
    def test_pairs(self, windows: dict[str, Events], alert: Alert) -> None:
        assert alert_of(windows, TARGET) is alert

    @pytest.mark.parametrize(
        ("bad", "least", "alert"),
        [(9, 10, Alert.OK), (10, 10, Alert.PAGE), (1, 1, Alert.PAGE), (99, 100, Alert.OK)],
    )
    def test_a_handful_of_bad_events_is_nothing_to_get_up_for(
        self, bad: int, least: int, alert: Alert
    ) -> None:
        """However fast the budget burns of a table that is hardly asked."""
        windows = {name: Events(0, bad) for name in WINDOWS}
        assert alert_of(windows, TARGET, least) is alert

    def test_it_is_the_longer_window_that_has_enough(self) -> None:
        """What goes on is not measured by how much of it came in the last five minutes."""
        windows = burning() | {"5m": Events(0, 1), "1h": Events(0, 10)}
        assert alert_of(windows, TARGET) is Alert.PAGE
