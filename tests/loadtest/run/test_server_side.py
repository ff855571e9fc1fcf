"""What the server counted of a run: the difference of two looks, and its gap to the callers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cascade_client.values.provenance import Tier
from cascade_client.values.service_level import (
    Alert,
    CallerFault,
    CallerFaults,
    LatencyQuantiles,
    ObjectiveKind,
    ObjectiveStatus,
    ServiceClass,
    ServiceLevel,
)
from cascade_client.values.statistics import (
    EngineStatistics,
    PooledRelease,
    PoolStatistics,
    ServerStatistics,
    WorkerStatistics,
)
from cascade_loadtest.run.server_side import ServerSide, Snapshot, between, gaps

from tests.loadtest.answers import answers


def snapshot(calls: int) -> Snapshot:
    engine = EngineStatistics(
        "credit", 1, Tier.STUDENT, 0, 0, calls, 2 * calls, 0, 0, 1.0, 0.0, None
    )
    pool = PoolStatistics((PooledRelease("credit", 1, calls, calls + 1, 5, 5),), 1, 10, 0, 0)
    workers = (WorkerStatistics(1, 0, 8, calls),)
    statistics = ServerStatistics((engine,), 0, 8, calls, 0, {}, pool, None, workers, (), ())
    objective = ObjectiveStatus(
        "credit-realtime-availability",
        "credit",
        ServiceClass.REALTIME,
        ObjectiveKind.AVAILABILITY,
        0.99,
        None,
        None,
        good=calls * 9,
        total=calls * 10,
        budget_remaining=-1.0,
        burn_rates=(),
        alert=Alert.PAGE,
    )
    untouched = replace(objective, name="adult", good=0, total=0)
    faults = CallerFaults("credit", ServiceClass.REALTIME, CallerFault.HUNG_UP, calls)
    quantiles = {0.5: 0.001, 0.99: 0.004}
    latencies = (
        LatencyQuantiles("credit", ServiceClass.REALTIME, Tier.STUDENT, calls, quantiles),
        LatencyQuantiles("credit", ServiceClass.REALTIME, Tier.TEACHER, 1, {0.5: 9.0}),
    )
    level = ServiceLevel(
        "s", 1, datetime(2026, 1, 1, tzinfo=UTC), (objective, untouched), latencies, (faults,)
    )
    return Snapshot(statistics, level)


def test_counts_are_of_the_run_alone() -> None:
    found = between(snapshot(10), snapshot(30))
    assert found.refused == 20
    assert found.rows == {"credit student": 40}
    assert found.runs == {"credit student": 20}
    assert (found.pool_hits, found.pool_misses) == (20, 20)
    assert found.caller_faults == {"credit, realtime: hung up": 20}
    (budget,) = found.budgets
    assert (budget.good, budget.bad) == (180, 20)
    # A tenth of the events was bad, where a hundredth may be.
    assert budget.burn == pytest.approx(10.0)


def test_the_gap_is_named() -> None:
    calls = answers(*[5.0] * 10)
    (median, p99) = gaps(between(snapshot(1), snapshot(9)), "credit", calls.due, calls.sent)
    assert (median.quantile, median.server) == (0.5, 1.0)
    assert p99.between == pytest.approx(1.0, rel=0.01)
    assert p99.before == 0


def test_no_gap_without_both_sides() -> None:
    calls = answers(5.0)
    assert gaps(ServerSide(), "credit", calls.due, calls.sent) == ()
    none = answers()
    assert gaps(between(snapshot(1), snapshot(2)), "credit", none.due, none.sent) == ()
