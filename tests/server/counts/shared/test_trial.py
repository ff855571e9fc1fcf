"""What a trial counts: calls, whatever is promised of them, and however many rows they have."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from cascade_server.config import ServerConfig
from cascade_server.counts.shared.trial import outcomes
from cascade_server.counts.sla import Sla
from cascade_server.objectives.burn import Events
from cascade_server.objectives.canary import CanaryConfig, Judged, Verdict, judge
from cascade_server.objectives.objective import Kind
from cascade_server.terms import ServiceClass, Tier

from tests.releases import TABLE

STABLE, CANARY = 1, 2
SLO = """
objectives:
  - table: payments
    class: realtime
    availability: {target: 0.999}
    fidelity: {tier: teacher, target: 0.2}
"""


@pytest.fixture
def sla(repository: Path, tmp_path: Path) -> Sla:
    path = tmp_path / "slo.yaml"
    path.write_text(SLO)
    sla = Sla(ServerConfig(repository=repository, slo=path))
    sla.books.live_versions.put(TABLE, STABLE, CANARY, 0.5)
    return sla


def answer(sla: Sla, version: int, tier: Tier, calls: int = 1, rows: int = 600) -> None:
    """Calls of many rows each, in parts."""
    for _ in range(calls):
        call = sla.call(ServiceClass.REALTIME)
        call.asks(TABLE, ServiceClass.REALTIME, 1e9, rows)
        call.answers_with(version)
        for _ in range(3):
            call.sends(tier, rows // 3)
        call.ends(grpc.StatusCode.OK)


def judged(sla: Sla) -> Judged:
    found = outcomes(sla.ledger.objectives, TABLE, sla.books.trial())
    return judge(found, 3600.0, CanaryConfig())


@pytest.mark.parametrize("tier", Tier)
def test_one_answer_of_many_rows_is_one_call(sla: Sla, tier: Tier) -> None:
    """It neither promotes a canary, as 600 calls would, nor rolls it back by its tier."""
    answer(sla, STABLE, Tier.TEACHER, calls=1000, rows=3)
    answer(sla, CANARY, tier)
    found = judged(sla)
    assert found.verdict is Verdict.WAIT
    assert found.reason == "1 of 500 calls"


def test_as_many_calls_as_are_wanted(sla: Sla) -> None:
    answer(sla, STABLE, Tier.TEACHER, calls=1000)
    answer(sla, CANARY, Tier.TEACHER, calls=500, rows=3)
    assert judged(sla).verdict is Verdict.PROMOTE


def test_fidelity_is_that_of_calls(sla: Sla) -> None:
    answer(sla, STABLE, Tier.TEACHER, calls=1000)
    answer(sla, CANARY, Tier.STUDENT, calls=90)
    answer(sla, CANARY, Tier.TEACHER, calls=2)
    (fidelity,) = (
        each
        for each in outcomes(sla.ledger.objectives, TABLE, sla.books.trial())
        if each.objective.kind is Kind.FIDELITY
    )
    assert (fidelity.stable, fidelity.canary) == (Events(1000, 1000), Events(2, 92))
    assert judged(sla).verdict is Verdict.ROLL_BACK
    # The budget is of rows all the same.
    (kept,) = (
        each.events for each in sla.ledger.report().statuses if each.objective.kind is Kind.FIDELITY
    )
    assert kept.total == 600 * 1092


def test_a_call_that_fails_after_some_rows_was_not_answered(sla: Sla) -> None:
    call = sla.call(ServiceClass.REALTIME)
    call.asks(TABLE, ServiceClass.REALTIME, 1e9, 600)
    call.answers_with(CANARY)
    call.sends(Tier.TEACHER, 300)
    call.ends(grpc.StatusCode.INTERNAL)
    assert judged(sla).reason == "0 of 500 calls"
