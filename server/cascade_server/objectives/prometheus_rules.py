"""Prometheus rules for objectives: recordings and multiwindow, multi-burn-rate alerts, as in Sloth.

Each objective has three groups: the ratio of bad events over each window, from the server's own
counters; values derived from it; and two alerts. They differ from Sloth's rules in four ways. A
ratio without events is absent rather than NaN. The ratio of the whole period weighs events, not
moments. Rules read recorded series only (`instance=""`), because the server exposes some of the
same names. And a handful of bad events raises no alert (`Objective.least_bad`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import Any

from prometheus_client.utils import floatToGoString

from cascade_server.objectives import metric_names as slo_names
from cascade_server.objectives.blame import BLAMED
from cascade_server.objectives.burn import PAIRS, WINDOWS, Alert
from cascade_server.objectives.certificate_rules import certificate_group
from cascade_server.objectives.job_rules import job_group
from cascade_server.objectives.objective import TIERS, Kind, Objective, SloConfig
from cascade_server.objectives.presence_rules import presence_group
from cascade_server.objectives.report import OK

# Inputs of the ratio of the whole period: events per second, over five minutes.
ERRORS, EVENTS = "slo:sli_errors:rate5m", "slo:sli_events:rate5m"
ON = "on(sloth_id, sloth_slo, sloth_service) group_left"

Rule = dict[str, Any]


def rules(config: SloConfig, tables: Collection[str]) -> dict[str, Any]:
    """Return the content of a rules file.

    It has rules for the objectives of some tables, for offline jobs, for the certificate if the
    server has one, and for servers that are down.
    """
    groups = []
    for objective in config.for_tables(tables):
        labels = slo_names.identity(config.service, objective) | slo_names.descriptive(objective)
        identifier = labels["sloth_id"]
        groups += [
            {
                "name": f"sloth-slo-sli-recordings-{identifier}",
                "rules": sli_rules(config, objective, labels),
            },
            {
                "name": f"sloth-slo-meta-recordings-{identifier}",
                "rules": meta_rules(config, objective, labels),
            },
            {
                "name": f"sloth-slo-alerts-{identifier}",
                "rules": alert_rules(config, objective, labels),
            },
        ]
    others = (job_group(), certificate_group(), presence_group(config.service))
    return {"groups": [*groups, *others]}


def sli_rules(config: SloConfig, objective: Objective, labels: Mapping[str, str]) -> list[Rule]:
    """Return rules for the share of bad events, over each window and the whole period."""
    found = []
    for window in WINDOWS:
        bad, all_ = rates(objective, window)
        found.append(
            _record(
                slo_names.ERROR_RATIO.format(window=window),
                f"{bad}\n/\n({all_} > 0)",
                {**labels, "sloth_window": window},
            )
        )
    bad, all_ = rates(objective, "5m")
    found += [_record(ERRORS, bad, labels), _record(EVENTS, all_, labels)]
    period, chosen = f"{config.window_days}d", selector(config, objective)
    # otherwise two rules of one name would overwrite each other's recordings
    if period not in WINDOWS:
        found.append(
            _record(
                slo_names.ERROR_RATIO.format(window=period),
                f"sum_over_time({ERRORS}{chosen}[{period}])\n/\n"
                f"(sum_over_time({EVENTS}{chosen}[{period}]) > 0)",
                {**labels, "sloth_window": period},
            )
        )
    return found


def rates(objective: Objective, window: str) -> tuple[str, str]:
    """Return bad events and all events per second, in PromQL."""
    labels = {"table": objective.table, "class": str(objective.service)}
    if objective.kind is Kind.AVAILABILITY:
        blamed = "|".join(code.name for code in BLAMED)
        return (
            _rate(slo_names.REQUESTS, labels, window, f'code=~"{blamed}"'),
            _rate(slo_names.REQUESTS, labels, window, f'code=~"{OK.name}|{blamed}"'),
        )
    if objective.kind is Kind.LATENCY:
        assert objective.threshold is not None
        answered, bound = f'code="{OK.name}"', floatToGoString(objective.threshold)
        count = _rate(f"{slo_names.DURATION}_count", labels, window, answered)
        good = _rate(f"{slo_names.DURATION}_bucket", labels, window, answered, f'le="{bound}"')
        return f"({count} - {good})", count
    bad_tiers = "|".join(tier for tier in TIERS if not objective.satisfied_by(tier))
    rows = _rate(slo_names.ROWS, labels, window)
    if not bad_tiers:
        return f"(0 * {rows})", rows
    return _rate(slo_names.ROWS, labels, window, f'tier=~"{bad_tiers}"'), rows


def meta_rules(config: SloConfig, objective: Objective, labels: Mapping[str, str]) -> list[Rule]:
    """Return rules for the objective itself and the state of its budget."""
    chosen, period = selector(config, objective), f"{config.window_days}d"
    current = slo_names.ERROR_RATIO.format(window="5m")
    whole = slo_names.ERROR_RATIO.format(window=period)
    budget = f"{slo_names.ERROR_BUDGET}{chosen}"
    return [
        _record(slo_names.OBJECTIVE, f"vector({objective.target!r})", labels),
        _record(slo_names.ERROR_BUDGET, f"vector(1 - {objective.target!r})", labels),
        _record(slo_names.PERIOD_DAYS, f"vector({config.window_days})", labels),
        _record(slo_names.CURRENT_BURN_RATE, f"{current}{chosen}\n/ {ON}\n{budget}", labels),
        _record(slo_names.PERIOD_BURN_RATE, f"{whole}{chosen}\n/ {ON}\n{budget}", labels),
        _record(slo_names.BUDGET_REMAINING, f"1 - {slo_names.PERIOD_BURN_RATE}{chosen}", labels),
        _record(
            slo_names.INFO,
            "vector(1)",
            {
                **labels,
                "sloth_mode": "cascade-slo-rules",
                "sloth_objective": f"{100 * objective.target:.10g}",
                "sloth_spec": "cascade/v1",
                "sloth_version": version("cascade-synthesis"),
            },
        ),
    ]


def alert_rules(config: SloConfig, objective: Objective, labels: Mapping[str, str]) -> list[Rule]:
    """Return the rules for a page and a ticket."""
    chosen = selector(config, objective)
    found = []

    def enough_bad(window: str) -> str:
        # A rate times seconds is a whole number except for rounding.
        bad, _ = rates(objective, window)
        return f"    and on () ({bad} * {WINDOWS[window]} > {objective.least_bad} - 0.5)"

    for alert in (Alert.PAGE, Alert.TICKET):
        conditions = [
            "(\n"
            + "\n    and ignoring (sloth_window)\n".join(
                f"    ({slo_names.ERROR_RATIO.format(window=window)}{chosen}"
                f" > ({pair.factor:g} * (1 - {objective.target!r})))"
                for window in (pair.short, pair.long)
            )
            + f"\n{enough_bad(pair.long)}\n)"
            for pair in PAIRS
            if pair.alert is alert
        ]
        found.append(
            {
                "alert": f"Cascade{objective.kind.capitalize()}Burn",
                "expr": "\nor ignoring (sloth_window)\n".join(conditions) + "\n",
                # Includes the labels of the series, without which promtool reports the rules as
                # duplicates.
                "labels": {**labels, "severity": str(alert), "sloth_severity": str(alert)},
                "annotations": {
                    "title": f"({alert}) {{{{$labels.sloth_service}}}} {{{{$labels.sloth_slo}}}}: "
                    "the error budget burns too fast",
                    "summary": f"Promised: {promise(objective)}. "
                    "`cascade sla` shows what is left of the budget.",
                },
            }
        )
    return found


def promise(objective: Objective) -> str:
    """Describe an objective in words, for people who receive an alert."""
    share, whose = f"{100 * objective.target:.10g} %", f"of {objective.table}'s {objective.service}"
    if objective.kind is Kind.AVAILABILITY:
        return f"{share} {whose} calls are answered"
    if objective.kind is Kind.LATENCY:
        return f"{share} {whose} answers take at most {1e3 * (objective.threshold or 0):.10g} ms"
    return f"{share} {whose} rows come from the {objective.tier} or better"


def selector(config: SloConfig, objective: Objective) -> str:
    """Return the PromQL selector of an objective's recorded series, excluding scraped ones."""
    return _braces({**slo_names.identity(config.service, objective), "instance": ""})


def _record(name: str, expression: str, labels: Mapping[str, str]) -> Rule:
    return {"record": name, "expr": expression + "\n", "labels": dict(labels)}


def _rate(metric: str, labels: Mapping[str, str], window: str, *matchers: str) -> str:
    return f"sum(rate({metric}{_braces(labels, *matchers)}[{window}]))"


def _braces(labels: Mapping[str, str], *matchers: str) -> str:
    # A JSON string is also a PromQL string.
    equal = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items()]
    return "{" + ", ".join([*equal, *matchers]) + "}"


HEADER = """\
# Prometheus recording and alerting rules of service level objectives, written by
# `cascade slo rules`. Do not edit them: change slo.yaml and write them again.
"""


def as_kubernetes(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the same rules as a resource for the Prometheus Operator."""
    labels = {"app.kubernetes.io/name": name}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": name, "labels": labels},
        "spec": dict(document),
    }


def to_yaml(document: Mapping[str, Any]) -> str:
    """Write a rules file; expressions of several lines stay so."""
    import yaml  # no other part of a server needs it

    class Dumper(yaml.SafeDumper):
        """Writes strings of several lines as blocks."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    Dumper.ignore_aliases = lambda self, data: True  # type: ignore[method-assign]
    return HEADER + yaml.dump(
        document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1000
    )
