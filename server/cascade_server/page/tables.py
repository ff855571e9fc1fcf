"""The part of a snapshot that tells of each table, by class of service: rates, latencies, tiers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cascade_server.counts.shared.call_counts import OK, UNKNOWN_TABLE
from cascade_server.counts.shared.sketches import quantile
from cascade_server.objectives.blame import BLAMED, Ending
from cascade_server.objectives.burn import Alert
from cascade_server.objectives.report import Latencies, Report, Status
from cascade_server.page.reading import Served, Step
from cascade_server.page.snapshot import ALERTS, QUANTILES, ms, rate, share, worst
from cascade_server.terms import ServiceClass, Tier


def tables_of(
    names: Iterable[str],
    minute: Step,
    latencies: Sequence[Latencies],
    report: Report,
    steps_down: Mapping[str, int],
) -> list[dict[str, Any]]:
    """Each table that was asked lately or has promises to keep, by class; the busiest first.

    Args:
        names: of all tables that are served.
        minute: what was counted last.
        latencies: of the last hour.
        report: of objectives.
        steps_down: tiers that AUTO leaves out, by table.
    """
    counted = _counted_by_class(minute, latencies, report)
    out: list[dict[str, Any]] = []
    for table in [*names, UNKNOWN_TABLE]:
        classes = [
            _class_of((table, service), counted, minute)
            for service in ServiceClass
            if counted.is_shown((table, service))
        ]
        if classes:
            out.append(_table_of(table, classes, minute, steps_down.get(table, 0)))
    out.sort(
        key=lambda each: (
            ALERTS.index(Alert(each["alert"])),
            -each["answered_per_second"],
            each["table"],
        )
    )
    return out


@dataclass(frozen=True)
class _Counted:
    """What is known of each table and class, where there is anything.

    Attributes:
        calls: of the last minute, by tier and ending.
        rows: of the last minute.
        hour: answers of the last hour.
        promised: how each objective stands.
    """

    calls: Mapping[Served, Mapping[tuple[Tier | None, Ending], int]]
    rows: Mapping[Served, int]
    hour: Mapping[Served, int]
    promised: Mapping[Served, Sequence[Status]]

    def is_shown(self, served: Served) -> bool:
        """Whether a table and class was asked lately, or has promises with events."""
        has_events = any(status.events.total for status in self.promised.get(served, ()))
        return served in self.calls or bool(self.hour.get(served)) or has_events


def _counted_by_class(minute: Step, latencies: Sequence[Latencies], report: Report) -> _Counted:
    calls: dict[Served, dict[tuple[Tier | None, Ending], int]] = {}
    for (table, service, tier, ending), number in minute.calls.items():
        calls.setdefault((table, service), {})[tier, ending] = number
    rows: dict[Served, int] = {}
    for (table, service, _), number in minute.rows.items():
        rows[table, service] = rows.get((table, service), 0) + number
    hour: dict[Served, int] = {}
    for each in latencies:
        hour[each.table, each.service] = hour.get((each.table, each.service), 0) + each.count
    promised: dict[Served, list[Status]] = {}
    for status in report.statuses:
        served = status.objective.table, status.objective.service
        promised.setdefault(served, []).append(status)
    return _Counted(calls, rows, hour, promised)


def _class_of(served: Served, counted: _Counted, minute: Step) -> dict[str, Any]:
    """One class of one table.

    Args:
        served: table and class.
        counted: of all of them.
        minute: what was counted last.
    """
    ended, statuses = counted.calls.get(served, {}), counted.promised.get(served, ())
    answered = sum(n for (_, ending), n in ended.items() if ending is OK)
    failed = sum(n for (_, ending), n in ended.items() if ending in BLAMED)
    student = sum(n for (tier, _), n in ended.items() if tier is Tier.STUDENT)
    teacher = sum(n for (tier, _), n in ended.items() if tier is Tier.TEACHER)
    drawn = student + teacher
    sketch = minute.sketches.get(served)
    return {
        "class": str(served[1]),
        "answered_per_second": rate(answered, minute.seconds),
        "failed_per_second": rate(failed, minute.seconds),
        "faults_per_second": rate(sum(ended.values()) - answered - failed, minute.seconds),
        "rows_per_second": rate(counted.rows.get(served, 0), minute.seconds),
        "answered_last_hour": counted.hour.get(served, 0),
        "latency": None
        if sketch is None
        else {name: ms(quantile(sketch, q)) for name, q in QUANTILES.items()},
        "student_share": share(student / drawn) if drawn else None,
        "promised_ms": _promised_ms(statuses),
        "budget_remaining": _least_budget(statuses),
        "alert": str(worst(status.alert for status in statuses)),
    }


def _table_of(
    table: str, classes: Sequence[Mapping[str, Any]], minute: Step, steps_down: int
) -> dict[str, Any]:
    """One table, with its classes.

    Args:
        table: its name.
        classes: as of `_class_of`.
        minute: what was counted last.
        steps_down: tiers that AUTO leaves out.
    """
    answered = sum(n for key, n in minute.calls.items() if key[0] == table and key[3] is OK)
    return {
        "table": table,
        "classes": classes,
        "answered_per_second": rate(answered, minute.seconds),
        "tiers": _mix(table, minute, minute.pooled.get(table, 0)),
        "alert": str(worst(Alert(each["alert"]) for each in classes)),
        "steps_down": steps_down,
    }


def _mix(table: str, minute: Step, pooled: int) -> dict[str, float] | None:
    """Shares of the last minute's answers: student, teacher, and rows the teacher made before."""
    found = dict.fromkeys(Tier, 0)
    for (name, _, tier, ending), number in minute.calls.items():
        if name == table and tier is not None and ending is OK:
            found[tier] += number
    whole = sum(found.values())
    if not whole:
        return None
    pooled = min(pooled, found[Tier.TEACHER])
    return {
        "student": share(found[Tier.STUDENT] / whole),
        "teacher": share((found[Tier.TEACHER] - pooled) / whole),
        "pool": share(pooled / whole),
    }


def _promised_ms(statuses: Sequence[Status]) -> list[dict[str, float]]:
    return [
        {"threshold_ms": 1e3 * each.objective.threshold, "target": each.objective.target}
        for each in statuses
        if each.objective.threshold is not None
    ]


def _least_budget(statuses: Sequence[Status]) -> float | None:
    left = [each.budget_remaining for each in statuses if each.events.total]
    return share(min(left)) if left else None
