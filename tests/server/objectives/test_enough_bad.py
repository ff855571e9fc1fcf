"""How many bad events it takes before anybody is told, by Prometheus itself."""

from __future__ import annotations

from pathlib import Path

import yaml
from cascade_server.objectives.objective import Kind, Objective, SloConfig
from cascade_server.objectives.prometheus_rules import rules, to_yaml
from cascade_server.terms import ServiceClass

from tests.server.objectives.test_prometheus_rules import promtool, run_promtool

REALTIME = ServiceClass.REALTIME
MATCHED = 'sloth_slo="credit-realtime-availability"'


@promtool
def test_nobody_is_told_of_a_handful_of_bad_calls(tmp_path: Path) -> None:
    """Of nine calls eight fail, and nobody is told; then others do, a minute after a minute."""
    (tmp_path / "cascade.rules.yml").write_text(to_yaml(rules(SloConfig(), ["credit"])))
    calls = 'cascade_requests_total{table="credit", class="realtime", '
    tests = {
        "rule_files": ["cascade.rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {
                        "series": calls + 'tier="none", code="INTERNAL"}',
                        "values": "0x400 1+1x7 8x20 9+1x30",
                    },
                    {
                        "series": calls + 'tier="student", code="OK"}',
                        "values": "0x400 1x60",
                    },
                ],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertstate="firing", {MATCHED}}}) or vector(0)',
                        "eval_time": f"{minute}m",
                        "exp_samples": [{"labels": "{}", "value": firing}],
                    }
                    for minute, firing in ((409, 0), (415, 0), (445, 2))
                ],
            }
        ],
    }
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump(tests))
    assert "SUCCESS" in run_promtool("test", "rules", path)


@promtool
def test_as_many_as_are_enough_are_enough(tmp_path: Path) -> None:
    """Ten answers of 22 are late, within six hours: a rate times seconds is ten but for
    rounding, below it as often as above."""
    objective = Objective("credit", REALTIME, Kind.LATENCY, 0.99, threshold=0.05)
    document = rules(SloConfig(objectives=(objective,)), ["credit"])
    (tmp_path / "cascade.rules.yml").write_text(to_yaml(document))
    labels = 'table="credit", class="realtime", tier="student", code="OK"'
    before, calls = 400, 22
    answered, in_time = [0] * before, [0] * before
    for minute in range(360):
        call = max(0, min(calls, minute // 16))
        answered.append(call)
        in_time.append(call - max(0, (call - 1) // 2))
    tests = {
        "rule_files": ["cascade.rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {
                        "series": f"cascade_request_duration_seconds_{name}",
                        "values": " ".join(map(str, values)),
                    }
                    for name, values in (
                        (f"count{{{labels}}}", answered),
                        (f'bucket{{{labels}, le="0.05"}}', in_time),
                    )
                ],
                "promql_expr_test": [
                    {
                        "expr": 'count(ALERTS{severity="page"}) or vector(0)',
                        "eval_time": f"{before + minute}m",
                        "exp_samples": [{"labels": "{}", "value": firing}],
                    }
                    for minute, firing in ((310, 0), (358, 1))
                ],
            }
        ],
    }
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump(tests))
    assert "SUCCESS" in run_promtool("test", "rules", path)
