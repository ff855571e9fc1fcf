"""Groups of a rules file for alerts that follow from no objective."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class Alert(NamedTuple):
    """An alert that wakes or informs a person.

    Attributes:
        name: in CamelCase, as is usual in Prometheus.
        severity: `page` or `ticket`.
        expression: PromQL expression.
        holds: how long the expression must hold, such as "5m".
        title: what is wrong.
        summary: what to do.
    """

    name: str
    severity: str
    expression: str
    holds: str
    title: str
    summary: str


def alert_group(name: str, alerts: Iterable[Alert]) -> dict[str, Any]:
    """Return alerts as a group of a rules file."""
    return {
        "name": name,
        "rules": [
            {
                "alert": each.name,
                "expr": each.expression + "\n",
                "for": each.holds,
                "labels": {"severity": each.severity},
                "annotations": {
                    "title": f"({each.severity}) {each.title}",
                    "summary": each.summary,
                },
            }
            for each in alerts
        ],
    }
