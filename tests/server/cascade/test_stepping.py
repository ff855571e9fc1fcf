"""AUTO leaves out the teacher while a budget burns too fast, and comes back when it is calm."""

from __future__ import annotations

import logging
import urllib.request
from pathlib import Path

import grpc
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.cascade.stepping import Burn, StepConfig, Stepping, Steps, burns, stepped
from cascade_server.config import ServerConfig
from cascade_server.counts.ledger import Ledger
from cascade_server.objectives.objective import Kind, Objective, SloConfig
from cascade_server.terms import ServiceClass, Tier

from tests.releases import TABLE
from tests.server.messages import ask
from tests.server.running import DRAWN_ANEW, running

CONFIG = StepConfig()
FAST, CALM, FEW = [Burn(20.0, 100)], [Burn(0.5, 3)], [Burn(100.0, CONFIG.least_bad - 1)]


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class TestStepped:
    """The decision."""

    def test_a_fast_burn_steps_down_at_once_and_once(self) -> None:
        steps = stepped(Steps(), CONFIG, 100.0, FAST)
        assert steps == Steps(1, 100.0)
        assert stepped(steps, CONFIG, 1000.0, FAST) is steps

    def test_few_bad_events_mean_nothing(self) -> None:
        assert stepped(Steps(), CONFIG, 100.0, FEW).down == 0
        assert stepped(Steps(), CONFIG, 100.0, [Burn(100.0, CONFIG.least_bad)]).down == 1

    def test_nor_do_they_hide_what_another_budget_says(self) -> None:
        for budgets in ([*FEW, *FAST], [*FAST, *FEW], [*CALM, *FAST, *FEW]):
            assert stepped(Steps(), CONFIG, 100.0, budgets).down == 1

    def test_what_is_enough_of_one_budget_is_not_made_up_of_two(self) -> None:
        """Many bad events that burn slowly, and few that burn fast."""
        assert stepped(Steps(), CONFIG, 100.0, [*FEW, Burn(2.0, 1000)]).down == 0

    def test_all_have_to_be_calm_before_a_step_up(self) -> None:
        steps = Steps(1, 0.0)
        assert stepped(steps, CONFIG, 1000.0, [*CALM, *FEW]) is steps
        assert stepped(steps, CONFIG, 1000.0, [*FEW, *CALM]) is steps
        assert stepped(steps, CONFIG, 1000.0, [*CALM, *CALM]).down == 0

    @pytest.mark.parametrize("rate", [1.0, 5.0, 14.4])
    def test_between_the_thresholds_nothing_changes(self, rate: float) -> None:
        for steps in (Steps(), Steps(1, 0.0)):
            assert stepped(steps, CONFIG, 1000.0, [Burn(rate, 1000)]) is steps

    def test_up_again_after_a_while(self) -> None:
        steps = Steps(1, 100.0)
        assert stepped(steps, CONFIG, 100.0 + CONFIG.hold - 0.1, CALM) is steps
        assert stepped(steps, CONFIG, 100.0 + CONFIG.hold, CALM) == Steps(0, 130.0)

    def test_a_step_up_is_given_time_before_the_next_down(self) -> None:
        steps = Steps(0, 100.0)
        assert stepped(steps, CONFIG, 100.0 + CONFIG.settle - 0.1, FAST) is steps
        assert stepped(steps, CONFIG, 100.0 + CONFIG.settle, FAST).down == 1


def ledger(clock: Clock) -> Ledger:
    realtime = ServiceClass.REALTIME
    objectives = (
        Objective("*", realtime, Kind.AVAILABILITY, 0.999),
        Objective("*", realtime, Kind.LATENCY, 0.99, threshold=0.05),
        Objective("*", realtime, Kind.FIDELITY, 0.9, tier=Tier.TEACHER),
        Objective("*", ServiceClass.OFFLINE, Kind.AVAILABILITY, 0.999),
    )
    return Ledger(SloConfig(objectives=objectives), {"a", "b"}, clock)


class TestStepping:
    """The decision over a ledger."""

    def test_each_table_by_itself_and_only_what_is_promised_in_real_time(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        clock = Clock()
        counts = ledger(clock)
        stepping = Stepping(counts.report, clock=clock)
        for _ in range(100):
            counts.record("a", ServiceClass.REALTIME, Tier.STUDENT, grpc.StatusCode.OK, 0.2)
            counts.record_rows("b", ServiceClass.REALTIME, Tier.STUDENT, 1)
            counts.record("b", ServiceClass.OFFLINE, None, grpc.StatusCode.INTERNAL, 0.1)
        found = burns(counts.report())
        assert found["a"] == [Burn(0.0, 0), Burn(pytest.approx(100), 100)]
        assert found["b"] == [Burn(0.0, 0), Burn(0.0, 0)]
        with caplog.at_level(logging.WARNING):
            stepping.look()
        assert (stepping.down("a"), stepping.down("b"), stepping.down("c")) == (1, 0, 0)
        assert "a: AUTO steps down to the student" in caplog.text
        clock.now += 400
        stepping.look()
        assert stepping.down("a") == 0

    def test_a_few_failures_do_not_keep_late_answers_late(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Of 200 calls 40 are late, which burns 20 times too fast, and 5 fail, which burns 25 times
        too fast and is too few to say so."""
        clock = Clock()
        counts = ledger(clock)
        stepping = Stepping(counts.report, clock=clock)
        for number in range(195):
            seconds = 0.2 if number < 40 else 0.001
            counts.record("a", ServiceClass.REALTIME, Tier.TEACHER, grpc.StatusCode.OK, seconds)
        for _ in range(5):
            counts.record("a", ServiceClass.REALTIME, None, grpc.StatusCode.UNAVAILABLE, 0.1)
        with caplog.at_level(logging.WARNING):
            stepping.look()
        assert stepping.down("a") == 1
        # Not the 25 of the failures, which are not why.
        assert "its fastest budget burns at 20.5 over 5m" in caplog.text


def test_a_server_whose_budget_burns_answers_from_the_student_and_says_so(
    repository: Path,
) -> None:
    config = ServerConfig(repository=repository, port=0, metrics_port=0, **DRAWN_ANEW)
    with running(config) as server:
        before = server.stub.Synthesize(ask(explain=True))
        assert before.provenance.tier == pb.TIER_TEACHER
        ledger = server.server.sla.ledger
        for _ in range(100):
            ledger.record(TABLE, ServiceClass.REALTIME, None, grpc.StatusCode.INTERNAL, 0.1)
        server.server.service.dispatcher.stepping.look()
        after = server.stub.Synthesize(ask(explain=True))
        assert after.provenance.tier == pb.TIER_STUDENT
        assert "an error budget burns too fast" in after.provenance.routing.reason
        full = server.stub.Synthesize(ask(fidelity=pb.FIDELITY_FULL))
        assert full.provenance.tier == pb.TIER_TEACHER
        assert server.stub.GetStatistics(pb.GetStatisticsRequest()).steps_down[TABLE] == 1
        metrics = f"http://127.0.0.1:{server.server.sla.metrics_port}/metrics"
        with urllib.request.urlopen(metrics) as answer:
            assert f'cascade_steps_down{{table="{TABLE}"}} 1.0' in answer.read().decode()
