"""Alerts for certificates, with the real promtool where there is one."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from cascade_server.counts.certificate_metrics import CertificateCollector
from cascade_server.objectives.certificate_rules import certificate_group
from cascade_server.objectives.metric_names import CERTIFICATE_EXPIRY, CERTIFICATE_REFUSED
from cascade_server.objectives.objective import SloConfig
from cascade_server.objectives.prometheus_rules import rules, to_yaml

from tests.server.objectives.test_prometheus_rules import promtool, run_promtool

DAY = 86_400
FIRES = (
    "sum by (alertname, severity, job) "
    '(ALERTS{alertname=~"CascadeCertificate.*", alertstate="firing"})'
)
EXPIRES, SOON = "CascadeCertificateExpires", "CascadeCertificateExpiresSoon"


def test_they_are_about_metrics_that_there_are() -> None:
    collector = CertificateCollector(lambda: 0.0, lambda: False)
    exposed = {sample.name for metric in collector.collect() for sample in metric.samples}
    for rule in certificate_group()["rules"]:
        assert set(re.findall(r"cascade_\w+", rule["expr"])) <= exposed, rule["alert"]


@promtool
def test_who_is_told_of_what(tmp_path: Path) -> None:
    """Of certificates that hold for 30 days, for 13 and for one, and of files that are refused."""
    (tmp_path / "cascade.rules.yml").write_text(to_yaml(rules(SloConfig(), ["credit"])))
    given = {f'{CERTIFICATE_EXPIRY}{{job="{days}"}}': f"{days * DAY}+0x120" for days in (30, 13, 1)}
    given |= {
        f'{CERTIFICATE_REFUSED}{{job="well"}}': "0+0x120",
        f'{CERTIFICATE_REFUSED}{{job="ill"}}': "1+0x120",
    }
    expected = [
        (EXPIRES, "ticket", "13"),
        (EXPIRES, "ticket", "1"),
        (SOON, "page", "1"),
        ("CascadeCertificateRefused", "ticket", "ill"),
    ]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in given.items()],
        "promql_expr_test": [
            {
                "expr": FIRES,
                "eval_time": "90m",
                "exp_samples": [
                    {
                        "labels": f'{{alertname="{name}", severity="{severity}", job="{job}"}}',
                        "value": 1,
                    }
                    for name, severity, job in expected
                ],
            }
        ],
    }
    path = tmp_path / "tests.yml"
    path.write_text(
        yaml.safe_dump(
            {"rule_files": ["cascade.rules.yml"], "evaluation_interval": "1m", "tests": [test]}
        )
    )
    assert "SUCCESS" in run_promtool("test", "rules", path)
