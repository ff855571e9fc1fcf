"""Alerts that follow from no objective, as groups of a rules file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class Alert(NamedTuple):
    """What a person is woken for, or told of.

    Attributes:
        name: CamelCase, as Prometheus's are.
        severity: `page` or `ticket`.
        expression: in PromQL.
        holds: how long it has to, such as "5m".
        title: what is the matter.
        summary: what to do.
    """

    name: str
    severity: str
    expression: str
    holds: str
    title: str
    summary: str


def alert_group(name: str, alerts: Iterable[Alert]) -> dict[str, Any]:
    """A group of alerts, as a rules file has it."""
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
