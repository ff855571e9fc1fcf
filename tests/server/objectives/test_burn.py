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


def rates(**known: float) -> dict[str, float]:
    return {name: known.get(f"in_{name}", 0.0) for name in WINDOWS}


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
        ("burning", "alert"),
        [
            (rates(), Alert.OK),
            (rates(in_5m=15, in_1h=15), Alert.PAGE),
            (rates(in_5m=14.4, in_1h=14.4), Alert.OK),
            (rates(in_5m=1000), Alert.OK),
            (rates(in_1h=15, in_6h=2, in_3d=2), Alert.TICKET),
            (rates(in_30m=6.1, in_6h=6.1), Alert.PAGE),
            (rates(in_30m=6.1, in_6h=5.9), Alert.OK),
            (rates(in_6h=1.1, in_3d=1.1), Alert.TICKET),
            (rates(in_6h=0.9, in_3d=1.1), Alert.OK),
            (rates(in_6h=1.0, in_3d=1.0), Alert.OK),
        ],
    )
    def test_pairs(self, burning: dict[str, float], alert: Alert) -> None:
        assert alert_of(burning) is alert
