"""What is counted where, and what it adds up to; time is told."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from cascade_server.counts.ledger import Ledger
from cascade_server.counts.shared.sketches import RELATIVE_ACCURACY
from cascade_server.objectives.blame import BLAMED
from cascade_server.objectives.burn import Alert, Events
from cascade_server.objectives.objective import Kind, Objective, SloConfig
from cascade_server.objectives.report import OK, Report, Status
from cascade_server.terms import ServiceClass, Tier

REALTIME, FULL, OFFLINE = ServiceClass
STUDENT, TEACHER = Tier
HOUR = 3600.0
CONFIG = SloConfig(
    objectives=(
        Objective("*", REALTIME, Kind.AVAILABILITY, 0.999),
        Objective("*", REALTIME, Kind.LATENCY, 0.9, threshold=0.005),
        Objective("*", REALTIME, Kind.LATENCY, 0.99, threshold=0.05),
        Objective("*", REALTIME, Kind.FIDELITY, 0.5, tier=TEACHER),
        Objective("credit", FULL, Kind.AVAILABILITY, 0.99),
    )
)
FAULTS = [code for code in grpc.StatusCode if code is not OK]


@dataclass
class Told:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Told:
    return Told()


@pytest.fixture
def ledger(clock: Told) -> Ledger:
    return Ledger(CONFIG, ["adult", "credit"], clock)


def status(report: Report, name: str) -> Status:
    return next(each for each in report.statuses if each.objective.name == name)


def events(ledger: Ledger, name: str) -> tuple[int, int]:
    found = status(ledger.report(), name).events
    return (found.good, found.total)


class TestCounting:
    """Each outcome goes to the objectives of its table and class, and to no other."""

    def test_an_answer_is_good_for_availability(self, ledger: Ledger) -> None:
        ledger.record("credit", REALTIME, STUDENT, OK, 0.001)
        assert events(ledger, "credit-realtime-availability") == (1, 1)
        assert events(ledger, "adult-realtime-availability") == (0, 0)
        assert events(ledger, "credit-full-availability") == (0, 0)

    @pytest.mark.parametrize("code", FAULTS, ids=lambda code: code.name)
    def test_only_the_server_s_faults_are_bad(self, ledger: Ledger, code: grpc.StatusCode) -> None:
        ledger.record("credit", REALTIME, None, code, 0.001)
        assert events(ledger, "credit-realtime-availability") == (0, int(code in BLAMED))
        assert events(ledger, "credit-realtime-latency-50ms") == (0, 0)

    def test_whom_a_status_blames(self) -> None:
        assert {code.name for code in BLAMED} == {
            "DEADLINE_EXCEEDED",
            "RESOURCE_EXHAUSTED",
            "UNAVAILABLE",
            "INTERNAL",
            "UNKNOWN",
        }

    @pytest.mark.parametrize(
        ("seconds", "within"),
        [(0.0049, (1, 1)), (0.005, (1, 1)), (0.0051, (0, 1)), (0.05, (0, 1)), (0.051, (0, 0))],
    )
    def test_latency_is_good_up_to_the_threshold(
        self, ledger: Ledger, seconds: float, within: tuple[int, int]
    ) -> None:
        ledger.record("credit", REALTIME, STUDENT, OK, seconds)
        names = ("credit-realtime-latency-5ms", "credit-realtime-latency-50ms")
        assert tuple(events(ledger, name) for name in names) == tuple((w, 1) for w in within)

    def test_fidelity_counts_rows(self, ledger: Ledger) -> None:
        ledger.record_rows("credit", REALTIME, STUDENT, 30)
        ledger.record_rows("credit", REALTIME, TEACHER, 10)
        ledger.record_rows("credit", OFFLINE, TEACHER, 1000)
        assert events(ledger, "credit-realtime-fidelity-teacher") == (10, 40)

    def test_a_table_without_objectives_is_in_no_budget(self, ledger: Ledger) -> None:
        ledger.record("other", REALTIME, STUDENT, OK, 0.001)
        ledger.record("adult", OFFLINE, TEACHER, OK, 0.001)
        ledger.record_rows("other", REALTIME, STUDENT, 1)
        assert all(each.events == Events(0, 0) for each in ledger.report().statuses)


class TestReport:
    """Budgets, burn rates and alerts by objective."""

    def test_an_outage(self, ledger: Ledger, clock: Told) -> None:
        """An hour in which every fifth call fails, then a quiet hour."""
        name = "credit-realtime-availability"
        for _ in range(60):
            clock.now += 60
            for _ in range(4):
                ledger.record("credit", REALTIME, STUDENT, OK, 0.001)
            ledger.record("credit", REALTIME, None, grpc.StatusCode.UNAVAILABLE, 0.001)
        found = status(ledger.report(), name)
        assert found.events == Events(240, 300)
        # A fifth failed where a thousandth may.
        assert found.burn_rates["5m"] == pytest.approx(200)
        assert found.budget_remaining == pytest.approx(1 - 200)
        assert found.alert is Alert.PAGE
        clock.now += HOUR + 60
        found = status(ledger.report(), name)
        assert (found.burn_rates["5m"], found.burn_rates["1h"]) == (0.0, 0.0)
        assert found.burn_rates["6h"] == pytest.approx(200)
        assert found.alert is Alert.TICKET
        clock.now += 6 * HOUR
        assert status(ledger.report(), name).alert is Alert.OK
        assert status(ledger.report(), name).events == Events(240, 300)
        clock.now += 30 * 24 * HOUR
        assert status(ledger.report(), name).events == Events(0, 0)
        assert status(ledger.report(), name).budget_remaining == 1.0

    def test_says_since_when(self, ledger: Ledger, clock: Told) -> None:
        began = clock.now
        clock.now += HOUR
        assert ledger.report().since == began
        clock.now += 90 * 24 * HOUR
        assert ledger.report().since == clock.now - CONFIG.window

    def test_from_another_thread_while_counting(self, ledger: Ledger, clock: Told) -> None:
        """Nothing is lost, or there twice, in a report that is made during a fold."""
        seen: list[Any] = []
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                found = status(ledger.report(), "credit-realtime-availability").events
                seen.append(found.total)

        reader = threading.Thread(target=read)
        reader.start()
        for _ in range(2000):
            clock.now += 5
            ledger.record("credit", REALTIME, STUDENT, OK, 0.001)
        stop.set()
        reader.join()
        assert seen == sorted(seen)
        assert events(ledger, "credit-realtime-availability") == (2000, 2000)


class TestLatencies:
    """Quantiles of the last hour, by table, class and tier."""

    def test_are_within_their_accuracy(self, ledger: Ledger, clock: Told) -> None:
        seconds = np.random.default_rng(0).lognormal(-6, 1, 3000)
        for each in seconds:
            clock.now += 1  # fifty minutes: eleven sketches that have to be merged
            ledger.record("credit", REALTIME, STUDENT, OK, float(each))
        (found,) = ledger.latencies()
        assert (found.table, found.service, found.tier) == ("credit", REALTIME, STUDENT)
        assert found.count == 3000
        for quantile, value in found.quantiles.items():
            # DDSketch takes the lower of the two values that a quantile lies between.
            true = np.quantile(seconds, quantile, method="lower")
            assert value == pytest.approx(true, rel=RELATIVE_ACCURACY)

    def test_forget_what_is_older_than_an_hour(self, ledger: Ledger, clock: Told) -> None:
        ledger.record("credit", REALTIME, STUDENT, OK, 1.0)
        clock.now += HOUR
        ledger.record("credit", REALTIME, STUDENT, OK, 0.001)
        assert [each.count for each in ledger.latencies()] == [2]
        clock.now += 600
        assert [each.count for each in ledger.latencies()] == [1]
        assert [each.count for each in ledger.latencies()] == [1]
        clock.now += 24 * HOUR
        assert ledger.latencies() == ()

    def test_are_apart_by_tier_and_leave_failures_out(self, ledger: Ledger) -> None:
        ledger.record("credit", REALTIME, TEACHER, OK, 0.02)
        ledger.record("credit", REALTIME, STUDENT, OK, 0.001)
        ledger.record("credit", REALTIME, None, grpc.StatusCode.UNAVAILABLE, 9.0)
        assert [(each.tier, each.count) for each in ledger.latencies()] == [
            (STUDENT, 1),
            (TEACHER, 1),
        ]


class TestRestart:
    """A ledger goes on from another's state."""

    def test_counts_keep_their_age(self, ledger: Ledger, clock: Told) -> None:
        name = "credit-realtime-availability"
        ledger.record("credit", REALTIME, None, grpc.StatusCode.INTERNAL, 0.001)
        state = ledger.state()
        clock.now += 1000
        again = Ledger(CONFIG, ["adult", "credit"], clock)
        again.restore(state)
        again.record("credit", REALTIME, STUDENT, OK, 0.001)
        found = status(again.report(), name)
        assert (found.windows["5m"], found.windows["30m"]) == (Events(1, 1), Events(1, 2))
        assert found.events == Events(1, 2)
        assert again.report().since == clock.now - 1000

    def test_with_other_objectives_and_another_window(self, ledger: Ledger, clock: Told) -> None:
        ledger.record("credit", REALTIME, STUDENT, OK, 0.001)
        config = SloConfig(
            window_days=7,
            objectives=(
                Objective("*", REALTIME, Kind.LATENCY, 0.9, threshold=0.001),
                Objective("*", REALTIME, Kind.AVAILABILITY, 0.5),
            ),
        )
        again = Ledger(config, ["credit", "new"], clock)
        again.restore(ledger.state())
        assert [(each.objective.name, each.events.total) for each in again.report().statuses] == [
            ("credit-realtime-latency-1ms", 0),
            ("credit-realtime-availability", 1),
            ("new-realtime-latency-1ms", 0),
            ("new-realtime-availability", 0),
        ]
