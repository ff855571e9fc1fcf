"""The Grafana dashboard of `deploy/grafana/cascade.json`: `python -m
cascade_server.objectives.dashboard FILE`, which `make dashboard` runs.

A program writes it: positions and numbers of panels follow from their order, and all queries use
the metric names of the server's code. A test runs every query on a Prometheus that has scraped a
real server, and checks the file against Grafana's own schema.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_server.objectives import metric_names as names

UID, TITLE = "cascade-server", "Cascade"
WIDTH, HEIGHT = 24, 8
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# A matcher in every query of a table's series: the tables chosen at the top of the dashboard.
TABLE = 'table=~"$table"'
RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Query:
    """A Prometheus query, and the name of its series in the legend."""

    expression: str
    legend: str
    exemplars: bool = False


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title, about: what it shows, and how to read it.
        queries: the queries, in order.
        unit: Grafana's name of the unit: "s", "percentunit", "reqps", "bytes", "short".
        kind: Grafana's name of the visualisation.
        width: out of 24.
    """

    title: str
    about: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8


def rate(metric: str, by: str, *matchers: str) -> str:
    """Return the query of a counter's increase per second, by some labels."""
    return f"sum by ({by}) (rate({metric}{{{', '.join(matchers)}}}{RATE}))"


def quantile(q: float, by: str, *matchers: str) -> str:
    """Return the query of a quantile of the server's time per call."""
    buckets = rate(f"{names.DURATION}_bucket", f"le, {by}", *matchers)
    return f"histogram_quantile({q}, {buckets})"


def of_objective(name: str, worst: str = "max") -> str:
    """Return the query of a metric that servers expose about their objectives.

    Of several servers, the worst counts: `max` of what is burnt, `min` of what is left. Rules
    record the same names without `instance`.
    """
    return f'{worst} by (table, class, sloth_slo) ({name}{{{TABLE}, instance!=""}})'


SLO = "{{sloth_slo}}"
ANSWERED = 'code="OK"'
ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Objectives",
        (
            Panel(
                "Error budget left",
                "Of the server that has least. Below 0 more was missed than is allowed.",
                (Query(of_objective(names.BUDGET_REMAINING, "min"), SLO),),
                "percentunit",
                "bargauge",
            ),
            Panel(
                "Burn rate, 5 minutes",
                "1: just as fast as is allowed. 14.4 for an hour pages somebody (docs/sla.md).",
                (Query(of_objective(names.CURRENT_BURN_RATE), SLO),),
            ),
            Panel(
                "What was missed, of what may be",
                "Share of events that was bad over an hour; the dashed line is what is allowed.",
                (
                    Query(of_objective(names.ERROR_RATIO.format(window="1h")), SLO),
                    Query(of_objective(names.ERROR_BUDGET), f"{SLO}: allowed"),
                ),
                "percentunit",
            ),
        ),
    ),
    (
        "Latency",
        (
            Panel(
                "Real time, by tier",
                "The server's time. A dot is a traced call: click it for what took so long.",
                (
                    Query(
                        quantile(0.5, "tier", TABLE, 'class="realtime"', ANSWERED), "p50 {{tier}}"
                    ),
                    Query(
                        quantile(0.99, "tier", TABLE, 'class="realtime"', ANSWERED),
                        "p99 {{tier}}",
                        exemplars=True,
                    ),
                    Query(
                        quantile(0.999, "tier", TABLE, 'class="realtime"', ANSWERED),
                        "p99.9 {{tier}}",
                    ),
                ),
                "s",
                width=12,
            ),
            Panel(
                "p99 by class",
                "full: with the teacher or a likelihood; offline: a whole stream.",
                (Query(quantile(0.99, "class", TABLE, ANSWERED), "{{class}}", exemplars=True),),
                "s",
                width=6,
            ),
            Panel(
                "p99 of every method",
                "By OpenTelemetry's conventions, jobs and control calls too.",
                (
                    Query(
                        "histogram_quantile(0.99, sum by (le, rpc_method) "
                        f"(rate(rpc_server_call_duration_seconds_bucket{RATE})))",
                        "{{rpc_method}}",
                    ),
                ),
                "s",
                width=6,
            ),
        ),
    ),
    (
        "What is answered, and by whom",
        (
            Panel(
                "Calls",
                "That ended, however they did.",
                (Query(rate(names.REQUESTS, "table, class", TABLE), "{{table}} {{class}}"),),
                "reqps",
            ),
            Panel(
                "Mix of tiers",
                "Rows by who drew them. The student does more where time or a budget is short.",
                (
                    Query(
                        f"{rate(names.ROWS, 'tier', TABLE)} / on() group_left() "
                        f"sum(rate({names.ROWS}{{{TABLE}}}{RATE}))",
                        "{{tier}}",
                    ),
                ),
                "percentunit",
            ),
            Panel(
                "Rows",
                "Answered, a second.",
                (Query(rate(names.ROWS, "table, tier", TABLE), "{{table}} {{tier}}"),),
                "rowsps",
            ),
        ),
    ),
    (
        "Refusals",
        (
            Panel(
                "Calls that were not answered",
                "By status. DEADLINE_TOO_SHORT is its caller's own fault, and spends nothing.",
                (
                    Query(
                        rate(names.REQUESTS, "code", TABLE, 'code!="OK"'),
                        "{{code}}",
                    ),
                ),
                "reqps",
                width=16,
            ),
            Panel(
                "AUTO steps down",
                "Tiers that are left out because a budget burns too fast.",
                (Query(f"cascade_steps_down{{{TABLE}}}", "{{table}}"),),
            ),
        ),
    ),
    (
        "Rows ahead of time, answers kept",
        (
            Panel(
                "Pool: requests",
                "That pooled rows could answer, and whether there were enough.",
                (
                    Query(
                        rate("cascade_pool_requests_total", "table, outcome", TABLE),
                        "{{table}} {{outcome}}",
                    ),
                ),
                "reqps",
            ),
            Panel(
                "Pool: rows made, rows there",
                "The idle teacher makes them.",
                (
                    Query(
                        rate("cascade_pool_refilled_rows_total", "table", TABLE),
                        "{{table}}: made/s",
                    ),
                    Query(f"sum by (table) (cascade_pool_rows{{{TABLE}}})", "{{table}}: there"),
                ),
            ),
            Panel(
                "Cache: requests with a seed",
                "By where their answer was.",
                (Query(rate("cascade_cache_requests_total", "outcome"), "{{outcome}}"),),
                "reqps",
            ),
        ),
    ),
    (
        "Jobs",
        (
            Panel(
                "Jobs",
                "That are kept, by state.",
                (Query("sum by (state) (cascade_jobs)", "{{state}}"),),
                width=6,
            ),
            Panel(
                "Rows of jobs",
                "In files that are whole, a second.",
                (
                    Query(
                        rate("cascade_job_rows_total", "table, tier", TABLE), "{{table}} {{tier}}"
                    ),
                ),
                "rowsps",
                width=6,
            ),
            Panel(
                "Jobs that wait",
                "Age of the oldest that nobody has begun, and of the longest that cannot go on.",
                (
                    Query("max(cascade_job_oldest_pending_seconds)", "pending"),
                    Query("max(cascade_job_oldest_waiting_seconds)", "waiting"),
                ),
                "s",
                width=6,
            ),
            Panel(
                "Results on disk",
                "Of what they may take: beyond it jobs wait.",
                (Query("max(cascade_job_disk_bytes) / max(cascade_job_disk_limit_bytes)", "used"),),
                "percentunit",
                width=6,
            ),
        ),
    ),
    (
        "Releases and canaries",
        (
            Panel(
                "Who answers",
                "Share of a table's requests that each version answers.",
                (
                    Query(
                        f"avg by (table, version) (cascade_release_share{{{TABLE}}})",
                        "{{table}} {{version}}",
                    ),
                ),
                "percentunit",
            ),
            Panel(
                "Canaries",
                "Trials of versions, by what happened.",
                (Query("sum by (event) (cascade_canaries_total)", "{{event}}"),),
            ),
            Panel(
                "Reloads",
                "Times that new processes were to take over, and whether they did.",
                (Query("sum by (outcome) (cascade_reloads_total)", "{{outcome}}"),),
            ),
        ),
    ),
    (
        "Values that were never learnt",
        (
            Panel(
                "Outside of what was learnt",
                "By column and kind. A column that rises has changed since the release was learnt.",
                (
                    Query(
                        rate("cascade_outside_values_total", "table, column, kind", TABLE),
                        "{{table}} {{column}} {{kind}}",
                    ),
                ),
                width=24,
            ),
        ),
    ),
    (
        "Processes",
        (
            Panel(
                "Processors",
                "Cores that are in use, by what processes do.",
                (Query(rate("cascade_process_compute_seconds_total", "role"), "{{role}}"),),
                width=6,
            ),
            Panel(
                "Memory",
                "Of all processes of a kind.",
                (Query("sum by (role) (cascade_process_memory_bytes)", "{{role}}"),),
                "bytes",
                width=6,
            ),
            Panel(
                "Memory, by what it is for",
                "A worker's is the student's, but for pool and cache.",
                (Query("sum by (tier) (cascade_tier_memory_bytes)", "{{tier}}"),),
                "bytes",
                width=6,
            ),
            Panel(
                "What answers cost",
                "Cores that answers take, by who draws them; idle: for no request.",
                (Query(rate("cascade_compute_seconds_total", "tier"), "{{tier}}"),),
                width=6,
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """Return the dashboard as the JSON document that Grafana imports."""
    return {
        "uid": UID,
        "title": TITLE,
        "description": "A Cascade server: promises, latencies, who answers, what waits.",
        "tags": ["cascade"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": list(_variables())},
        "annotations": {"list": []},
        "panels": list(_panels()),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
    }
    yield {
        "name": "table",
        "label": "Table",
        "type": "query",
        "datasource": SOURCE,
        "query": f"label_values({names.REQUESTS}, table)",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all", "selected": True},
    }


def _panels() -> Iterator[dict[str, Any]]:
    number = y = 0
    for title, panels in ROWS:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
            "panels": [],
        }
        y, x = y + 1, 0
        for panel in panels:
            number += 1
            yield _panel(panel, number, x, y)
            x += panel.width
        y += HEIGHT


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": {"h": HEIGHT, "w": panel.width, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
                "exemplar": query.exemplars,
                "range": True,
            }
            for place, query in enumerate(panel.queries)
        ],
    }


def as_json() -> str:
    """Return the content of the dashboard's file."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(as_json())
