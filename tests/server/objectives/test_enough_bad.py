"""How many bad events it takes before anybody is told, by Prometheus itself."""

from __future__ import annotations

from pathlib import Path

import yaml
from cascade_server.objectives.objective import Kind, Objective, SloConfig
from cascade_server.objectives.prometheus_rules import rules, to_yaml
from cascade_server.terms import ServiceClass

from tests.server.objectives.test_prometheus_rules import promtool, run_promtool

REALTIME = ServiceClass.REALTIME


def judged(
    folder: Path, config: SloConfig, series: dict[str, str], alerts: str, firing: dict[int, int]
) -> str:
    """What promtool says of the rules of one table, credit's.

    Args:
        series: what is scraped, a value a minute, by name and labels.
        alerts: the labels of those that are counted.
        firing: how many are expected, by minute.
    """
    (folder / "cascade.rules.yml").write_text(to_yaml(rules(config, ["credit"])))
    expression = f'count(ALERTS{{alertstate="firing", {alerts}}}) or vector(0)'
    tests = {
        "rule_files": ["cascade.rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": name, "values": values} for name, values in series.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": expression,
                        "eval_time": f"{minute}m",
                        "exp_samples": [{"labels": "{}", "value": count}],
                    }
                    for minute, count in firing.items()
                ],
            }
        ],
    }
    path = folder / "tests.yml"
    path.write_text(yaml.safe_dump(tests))
    return run_promtool("test", "rules", path)


@promtool
def test_nobody_is_told_of_a_handful_of_bad_calls(tmp_path: Path) -> None:
    """Of nine calls eight fail, and nobody is told; then others do, a minute after a minute."""
    calls = 'cascade_requests_total{table="credit", class="realtime", '
    series = {
        calls + 'tier="none", code="INTERNAL"}': "0x400 1+1x7 8x20 9+1x30",
        calls + 'tier="student", code="OK"}': "0x400 1x60",
    }
    alerts, firing = 'sloth_slo="credit-realtime-availability"', {409: 0, 415: 0, 445: 2}
    assert "SUCCESS" in judged(tmp_path, SloConfig(), series, alerts, firing)


@promtool
def test_as_many_as_are_enough_are_enough(tmp_path: Path) -> None:
    """Ten answers of 22 are late, within six hours: a rate times seconds is ten but for
    rounding, below it as often as above."""
    objective = Objective("credit", REALTIME, Kind.LATENCY, 0.99, threshold=0.05)
    before, calls = 400, 22
    answered, in_time = [0] * before, [0] * before
    for minute in range(360):
        call = min(calls, minute // 16)
        answered.append(call)
        in_time.append(call - max(0, (call - 1) // 2))
    labels = 'table="credit", class="realtime", tier="student", code="OK"'
    series = {
        f"cascade_request_duration_seconds_count{{{labels}}}": answered,
        f'cascade_request_duration_seconds_bucket{{{labels}, le="0.05"}}': in_time,
    }
    texts = {name: " ".join(map(str, values)) for name, values in series.items()}
    config, firing = SloConfig(objectives=(objective,)), {before + 310: 0, before + 358: 1}
    alerts = 'alertname="CascadeLatencyBurn", severity="page"'
    assert "SUCCESS" in judged(tmp_path, config, texts, alerts, firing)
