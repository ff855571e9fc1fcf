"""The alert for servers that are not there, by the real promtool."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from cascade_server.objectives.objective import SloConfig
from cascade_server.objectives.prometheus_rules import rules, to_yaml

from tests.server.objectives.test_prometheus_rules import promtool, run_promtool


@promtool
@pytest.mark.parametrize(
    ("series", "gone"),
    [
        ('slo:objective:ratio{sloth_service="scoring", instance="a"}', False),
        ('slo:objective:ratio{sloth_service="others", instance="a"}', True),
    ],
)
def test_somebody_is_woken_where_no_server_of_the_deployment_is_seen(
    tmp_path: Path, series: str, gone: bool
) -> None:
    """What rules record themselves, and other deployments' servers, are none."""
    written = to_yaml(rules(SloConfig(service="scoring"), ["credit"]))
    (tmp_path / "cascade.rules.yml").write_text(written)
    labels = '{severity="page", sloth_service="scoring"}'
    test = {
        "interval": "1m",
        "input_series": [{"series": series, "values": "0.99+0x20"}],
        "promql_expr_test": [
            {
                "expr": "sum by (severity, sloth_service) "
                '(ALERTS{alertname="CascadeServersGone", alertstate="firing"})',
                "eval_time": "10m",
                "exp_samples": [{"labels": labels, "value": 1}] if gone else [],
            }
        ],
    }
    document = {
        "rule_files": ["cascade.rules.yml"],
        "evaluation_interval": "1m",
        "tests": [test],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(document))
    run_promtool("test", "rules", str(tmp_path / "test.yml"))
