"""When a canary is promoted, and when it is rolled back."""

from __future__ import annotations

import numpy as np
import pytest
from cascade_server.objectives.burn import Events
from cascade_server.objectives.canary import (
    CanaryConfig,
    Outcome,
    Verdict,
    answered,
    evidence,
    judge,
    upper,
)
from cascade_server.objectives.objective import Kind, Objective
from cascade_server.terms import ServiceClass

CONFIG = CanaryConfig(seconds=60, calls=500)
LONG = 3600.0


def outcome(bad: int, total: int, stable_bad: int = 0, stable: int = 10_000) -> Outcome:
    """Of an objective of 99 %."""
    objective = Objective("credit", ServiceClass.REALTIME, Kind.LATENCY, 0.99, threshold=0.05)
    events = Events(stable - stable_bad, stable), Events(total - bad, total)
    return Outcome(objective, *events)


@pytest.mark.parametrize(
    ("of", "elapsed", "expected"),
    [
        (outcome(0, 1000), LONG, Verdict.PROMOTE),
        (outcome(10, 1000), LONG, Verdict.PROMOTE),  # exactly what is allowed
        (outcome(0, 499), LONG, Verdict.WAIT),  # too few calls
        (outcome(0, 1000), 59.0, Verdict.WAIT),  # too soon
        (outcome(1, 1), LONG, Verdict.WAIT),  # one bad call is no evidence
        (outcome(4, 4), LONG, Verdict.ROLL_BACK),  # four of four are
        (outcome(10, 100), 1.0, Verdict.ROLL_BACK),  # a tenth, where a hundredth is allowed
        (outcome(15, 1000), LONG, Verdict.WAIT),  # more than allowed, perhaps by chance
        (outcome(30, 1000), LONG, Verdict.ROLL_BACK),
        (outcome(0, 0), LONG, Verdict.WAIT),
    ],
)
def test_of_one_objective(of: Outcome, elapsed: float, expected: Verdict) -> None:
    assert judge([of], elapsed, CONFIG).verdict is expected


def test_a_canary_is_not_blamed_for_what_the_stable_version_does_too() -> None:
    """The machine is slow: a tenth is late, of both."""
    of = outcome(100, 1000, stable_bad=1000)
    assert judge([of], LONG, CONFIG).verdict is Verdict.PROMOTE
    assert judge([outcome(300, 1000, stable_bad=1000)], LONG, CONFIG).verdict is Verdict.ROLL_BACK


def test_one_broken_objective_is_enough() -> None:
    found = judge([outcome(0, 10_000), outcome(100, 1000)], LONG, CONFIG)
    assert found.verdict is Verdict.ROLL_BACK
    assert "credit-realtime-latency-50ms: 100 of 1000 events of the canary were bad" in found.reason


def test_nothing_to_judge_by_is_no_verdict() -> None:
    assert judge([], LONG, CONFIG).verdict is Verdict.WAIT


class TestAnswered:
    """How many calls a canary has answered, by what was counted of each objective."""

    @staticmethod
    def outcome(
        kind: Kind, good: int, total: int, service: ServiceClass = ServiceClass.REALTIME
    ) -> Outcome:
        objective = Objective("credit", service, kind, 0.9, threshold=0.05)
        return Outcome(objective, Events(1000, 1000), Events(good, total))

    def test_what_was_refused_is_no_answer(self) -> None:
        """A server that was too busy for 2,000 calls promotes nobody who has answered none."""
        refused = self.outcome(Kind.AVAILABILITY, 0, 1000)
        refused = Outcome(refused.objective, Events(0, 1000), refused.canary)
        assert answered([refused]) == 0
        assert judge([refused], LONG, CONFIG).verdict is Verdict.WAIT

    def test_objectives_of_a_class_count_the_same_calls(self) -> None:
        of_a_class = [
            self.outcome(Kind.AVAILABILITY, 90, 95),
            self.outcome(Kind.LATENCY, 80, 90),
            self.outcome(Kind.FIDELITY, 30, 90),
        ]
        assert answered(of_a_class) == 90

    def test_classes_add_up(self) -> None:
        of_two = [
            self.outcome(Kind.LATENCY, 300, 300),
            self.outcome(Kind.LATENCY, 200, 200, ServiceClass.FULL),
        ]
        assert answered(of_two) == 500
        assert judge(of_two, LONG, CONFIG).verdict is Verdict.PROMOTE


def test_a_good_canary_is_hardly_ever_rolled_back_however_often_it_is_looked_at() -> None:
    """Chance is 1e-4 a look; looks at growing counts are far from independent. Of 200 trials of
    2,000 calls at exactly the allowed share, none should be: 200 x some 20 independent looks x
    1e-4 is .4 rolled back by the bound, which is several times above the true probability."""
    rng = np.random.default_rng(0)
    rolled_back = 0
    for _ in range(200):
        bad = np.cumsum(rng.random(2000) < 0.01)
        rolled_back += any(
            judge([outcome(int(bad[n - 1]), n)], 1.0, CONFIG).verdict is Verdict.ROLL_BACK
            for n in range(20, 2001, 20)
        )
    assert rolled_back <= 2


def test_the_bound_is_one() -> None:
    """P(X >= 5) for 100 events at 1 % is 3.4e-3; the bound must not be below it."""
    assert np.exp(-evidence(5, 100, 0.01)) >= 3.4e-3
    assert evidence(1, 100, 0.01) == 0
    assert evidence(1, 10, 0.0) == float("inf")


def test_wilsons_upper_bound() -> None:
    """Of 10 in 100, 95 % (z = 1.96): .1744, as in Wilson (1927)'s formula worked by hand."""
    assert upper(10, 100, 1.96) == pytest.approx(0.1744, abs=1e-4)
    assert upper(0, 0, 1.96) == 0
