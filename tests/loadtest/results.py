"""A run's result without a run, for tests."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cascade_loadtest.generator.processes import Capacity
from cascade_loadtest.generator.tally import Tally
from cascade_loadtest.outcomes import Calls
from cascade_loadtest.run.memory import Samples
from cascade_loadtest.run.result import Job, Result
from cascade_loadtest.run.server_side import Budget, Gap, ServerSide, Sketch
from cascade_loadtest.sla import Verdict

OPTIONS = Namespace(
    table="credit",
    profile="constant",
    arrivals="poisson",
    capacity="alone",
    users=4,
    processes=1,
    connections=4,
)
VERDICTS = (
    Verdict("real time", "p99", "≤ 10 ms", "12.35 ms", False),
    Verdict("offline job", "made", "≥ 1 rows/s", "67 rows/s", True),
    Verdict("memory", "growth", "≤ 2 %", "run too short", None),
)


def tally(windows: int = 4, calls: int = 25) -> Tally:
    """So many windows of a second, each with answers of 1 to `calls` ms, and a failure."""
    found = Tally(1.0, {"features late": Calls()}, cpu=[0.25], began=1.0)
    late = found.calls["features late"]
    for number in range(windows):
        window = found.at(number + 0.5)
        window.due, window.sent, window.failures = calls + 1, calls, 1
        late.failures["DEADLINE_EXCEEDED"] += 1
        for each in range(calls):
            seconds = (each + 1) / 1e3
            late.due.note(seconds + 0.0005)
            late.sent.note(seconds)
            window.latencies.note(seconds + 0.0005)
            found.lag.note(0.0005)
            tier = "pool" if each % 5 == 0 else "student"
            late.tiers[tier] += 1
            window.tiers[tier] += 1
    found.dropped["no stream was free"] = 1
    return found


def result(
    counted: Tally | None = None,
    users: Mapping[str, Calls] | None = None,
    verdicts: tuple[Verdict, ...] = VERDICTS,
    **changed: Any,
) -> Result:
    """All that a run may have."""
    server = ServerSide(
        (Sketch("credit, realtime, student", 100, {0.5: 4.25, 0.99: 20.0, 0.999: 21.0}),),
        (Budget("credit, realtime", "99 % within 50 ms", 90, 10, 0.99, -0.5, 10.0, "page"),),
        3,
        0,
        {"credit, realtime: bad request": 7},
        {"credit student": 123},
        {"credit student": 45},
        6,
        7,
    )
    samples = Samples("worker", [0.0, 1.0, 2.0], [100 * 2**20, 101 * 2**20, 102 * 2**20], [0, 1, 2])
    made: dict[str, Any] = {
        "options": OPTIONS,
        "command": "python -m cascade_loadtest",
        "began": datetime(2026, 11, 30, 4, 3, tzinfo=UTC),
        "tally": tally() if counted is None else counted,
        "per_s": 26.0,
        "capacity": Capacity(52.5, 0.0, 0.1),
        "users": users,
        "job": Job("full", 268, 67.0),
        "samples": [samples],
        "server": server,
        "gaps": [Gap(0.99, 20.0, 25.0, 25.5)],
        "machine": {"processor": "a processor", "cores": "2"},
        "verdicts": verdicts,
    }
    return Result(**{**made, **changed})
