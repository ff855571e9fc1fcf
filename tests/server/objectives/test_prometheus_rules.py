"""`cascade slo rules`: what Prometheus makes of it, with the real promtool where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cascade_cli.program import main
from cascade_server.counts.ledger import Ledger
from cascade_server.counts.metrics import Metrics
from cascade_server.jobs.metrics import JobsCollector
from cascade_server.objectives.burn import WINDOWS
from cascade_server.objectives.certificate_rules import certificate_group
from cascade_server.objectives.job_rules import job_group
from cascade_server.objectives.objective import Kind, Objective, SloConfig
from cascade_server.objectives.presence_rules import presence_group
from cascade_server.objectives.prometheus_rules import promise, rules, to_yaml
from cascade_server.terms import ServiceClass, Tier
from click.testing import CliRunner
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

REALTIME, FULL, OFFLINE = ServiceClass
CONFIG = SloConfig(
    objectives=(
        Objective("*", REALTIME, Kind.AVAILABILITY, 0.99),
        Objective("*", REALTIME, Kind.LATENCY, 0.9, threshold=0.0125),
        Objective("*", REALTIME, Kind.LATENCY, 0.99, threshold=2.0),
        Objective("*", REALTIME, Kind.FIDELITY, 0.2, tier=Tier.TEACHER),
        Objective("credit", FULL, Kind.FIDELITY, 0.5, tier=Tier.STUDENT),
        Objective("credit", OFFLINE, Kind.AVAILABILITY, 0.9),
    )
)
TABLES = ["credit", "adult's"]
METRIC = re.compile(r"([a-z][a-z0-9_:]*)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)(=~|!~|=)("(?:[^"\\]|\\.)*")')

promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not on PATH; the package `prometheus` of Debian has it",
)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(to_yaml(rules(CONFIG, TABLES)))
    return document


def every_rule(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in document["groups"] for rule in group["rules"]]


def of_objectives(document: dict[str, Any]) -> list[dict[str, Any]]:
    """All but the alerts for jobs, for certificates, and for servers that are gone."""
    others = job_group()["rules"] + certificate_group()["rules"]
    others += presence_group(CONFIG.service)["rules"]
    return [rule for rule in every_rule(document) if rule not in others]


def selectors(expression: str) -> list[tuple[str, dict[str, tuple[str, str]]]]:
    """Names and matchers of an expression: label to operator and value."""
    return [
        (name, {m[1]: (m[2], json.loads(m[3])) for m in MATCHER.finditer(matchers)})
        for name, matchers in METRIC.findall(expression)
    ]


def matches(matchers: dict[str, tuple[str, str]], labels: dict[str, str]) -> bool:
    for label, (operator, value) in matchers.items():
        have = labels.get(label, "")
        if operator == "=" and have != value:
            return False
        if operator == "=~" and not re.fullmatch(value, have):
            return False
    return True


class TestStructure:
    """What can be said without Prometheus."""

    def test_three_groups_an_objective(self, document: dict[str, Any]) -> None:
        *names, jobs, certificate, presence = [group["name"] for group in document["groups"]]
        others = ("cascade-jobs", "cascade-certificate", "cascade-presence")
        assert (jobs, certificate, presence) == others
        assert len(set(names)) == len(names) == 3 * len(CONFIG.for_tables(TABLES))
        assert names[-3:] == [
            "sloth-slo-sli-recordings-cascade-credit-offline-availability",
            "sloth-slo-meta-recordings-cascade-credit-offline-availability",
            "sloth-slo-alerts-cascade-credit-offline-availability",
        ]

    def test_sloth_s_names(self, document: dict[str, Any]) -> None:
        records = {rule["record"] for rule in every_rule(document) if "record" in rule}
        assert records >= {
            *(f"slo:sli_error:ratio_rate{window}" for window in [*WINDOWS, "30d"]),
            "slo:objective:ratio",
            "slo:error_budget:ratio",
            "slo:time_period:days",
            "slo:current_burn_rate:ratio",
            "slo:period_burn_rate:ratio",
            "slo:period_error_budget_remaining:ratio",
            "sloth_slo_info",
        }
        for rule in of_objectives(document):
            assert {"sloth_id", "sloth_service", "sloth_slo"} <= rule["labels"].keys()

    @pytest.mark.parametrize("days", [1, 3])
    def test_a_budget_of_as_long_as_a_window_is_recorded_once(self, days: int) -> None:
        config = SloConfig(window_days=days, objectives=CONFIG.objectives)
        recorded = [
            (rule["record"], *rule["labels"].items())
            for rule in every_rule(rules(config, TABLES))
            if "record" in rule
        ]
        assert len(set(recorded)) == len(recorded)
        exposed = Metrics(Ledger(config, TABLES), TABLES).registry.collect()
        names = [family.name for family in exposed]
        assert len(set(names)) == len(names)
        assert f"slo:sli_error:ratio_rate{days}d" in names

    def test_every_counter_that_is_read_is_exposed(self, document: dict[str, Any]) -> None:
        """Names, labels, codes and bounds are those of the server; one that is not has no rate."""
        metrics = Metrics(Ledger(CONFIG, TABLES), TABLES)
        exposed = [
            (sample.name, sample.labels)
            for family in text_string_to_metric_families(generate_latest(metrics.registry).decode())
            for sample in family.samples
        ]
        recorded = [
            (rule["record"], rule["labels"]) for rule in every_rule(document) if "record" in rule
        ]
        read = [each for rule in every_rule(document) for each in selectors(rule["expr"])]
        assert len(read) > 100
        for name, matchers in read:
            series = exposed if name.startswith("cascade_") else recorded
            found = [labels for n, labels in series if n == name and matches(matchers, labels)]
            assert found, f"{name} {matchers}"

    def test_recorded_series_are_not_mixed_with_scraped_ones(
        self, document: dict[str, Any]
    ) -> None:
        for rule in of_objectives(document):
            for name, matchers in selectors(rule["expr"]):
                assert ("instance" in matchers) == name.startswith("slo:")

    def test_alerts(self, document: dict[str, Any]) -> None:
        of = [rule for rule in of_objectives(document) if rule.get("alert")]
        assert [
            (rule["alert"], rule["labels"]["severity"], re.findall(r"rate(\w+)\{", rule["expr"]))
            for rule in of
            if rule["labels"]["sloth_slo"] == "credit-realtime-availability"
        ] == [
            ("CascadeAvailabilityBurn", "page", ["5m", "1h", "30m", "6h"]),
            ("CascadeAvailabilityBurn", "ticket", ["6h", "3d"]),
        ]
        factors = [re.findall(r"> \((\S+) \* \(1 - 0.99\)\)", rule["expr"]) for rule in of]
        assert [found for found in factors if found][:2] == [
            ["14.4", "14.4", "6", "6"],
            ["1", "1"],
        ]

    @pytest.mark.parametrize(
        ("number", "words"),
        [
            (0, "99 % of *'s realtime calls are answered"),
            (1, "90 % of *'s realtime answers take at most 12.5 ms"),
            (3, "20 % of *'s realtime rows come from the teacher or better"),
        ],
    )
    def test_what_is_promised_in_words(self, number: int, words: str) -> None:
        assert promise(CONFIG.objectives[number]) == words


class TestTheCommand:
    """`cascade slo rules`, which needs no server."""

    def run(self, *arguments: str | Path) -> Any:
        return CliRunner().invoke(main, ["slo", "rules", *map(str, arguments)])

    def test_of_the_defaults(self, repository: Path) -> None:
        result = self.run("--repository", repository)
        assert result.exit_code == 0, result.output
        assert yaml.safe_load(result.output) == rules(SloConfig(), ["payments", "shops"])
        assert result.output.startswith("# Prometheus recording and alerting rules")

    def test_of_named_tables_needs_no_repository(self, tmp_path: Path) -> None:
        path = tmp_path / "slo.yaml"
        path.write_text("objectives: [{table: a, class: full, availability: {target: 0.9}}]")
        result = self.run("--slo", path, "--repository", tmp_path / "nothing")
        assert result.exit_code == 0, result.output
        assert len(yaml.safe_load(result.output)["groups"]) == 3 + 3

    @pytest.mark.parametrize(
        ("slo", "repository", "says"),
        [
            ("objectives: 3", ".", "slo.yaml: objectives is 3; allowed: a list"),
            (None, "nothing", "nothing is not a folder"),
            (None, ".", "holds no release, so '*' stands for no table"),
        ],
    )
    def test_what_is_wrong_is_named(
        self, tmp_path: Path, slo: str | None, repository: str, says: str
    ) -> None:
        options: list[str | Path] = ["--repository", tmp_path / repository]
        if slo is not None:
            (tmp_path / "slo.yaml").write_text(slo)
            options += ["--slo", tmp_path / "slo.yaml"]
        result = self.run(*options)
        assert result.exit_code == 1
        assert says in result.output
        assert "Traceback" not in result.output

    @pytest.mark.parametrize("command", [["slo"], ["slo", "rules"]])
    def test_help_has_an_example(self, command: list[str]) -> None:
        output = CliRunner().invoke(main, [*command, "--help"]).output
        assert "Example" in output
        assert "cascade slo rules" in output


def run_promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@promtool
class TestWithPromtool:
    """Prometheus' own tool accepts the rules, and they fire when they should."""

    @pytest.mark.parametrize("config", [CONFIG, SloConfig()], ids=["of all kinds", "the defaults"])
    def test_it_accepts_them(self, config: SloConfig, tmp_path: Path) -> None:
        path = tmp_path / "cascade.rules.yml"
        path.write_text(to_yaml(rules(config, TABLES)))
        found = every_rule(yaml.safe_load(path.read_text()))
        assert f"SUCCESS: {len(found)} rules found" in run_promtool("check", "rules", path)

    def test_an_outage_pages_and_a_leak_is_a_ticket(self, tmp_path: Path) -> None:
        """Calls that fail, answers that are slow and rows of the student, for six hours.

        A tenth of credit's calls fail where a hundredth may: a burn rate of 10, a page by the slow
        pair. A fifth of its answers take longer than 12.5 ms where a tenth may: 2, a ticket. Of its
        rows nine tenths are the student's where eight may be: 1.125, a ticket. The other table is
        well, and what the server itself exposes in the same names is no obstacle.
        """
        (tmp_path / "cascade.rules.yml").write_text(to_yaml(rules(CONFIG, TABLES)))
        at = 'table="credit", class="realtime"'
        ok = f'{at}, tier="student", code="OK"'
        well = """table="adult's", class="realtime", tier="teacher", code="OK\""""
        growing = {
            f"cascade_requests_total{{{ok}}}": 900,
            f'cascade_requests_total{{{at}, tier="none", code="INTERNAL"}}': 100,
            f'cascade_requests_total{{{at}, tier="none", code="INVALID_ARGUMENT"}}': 5000,
            f"cascade_request_duration_seconds_count{{{ok}}}": 900,
            f'cascade_request_duration_seconds_bucket{{{ok}, le="0.0125"}}': 720,
            f'cascade_request_duration_seconds_bucket{{{ok}, le="2.0"}}': 900,
            f'cascade_rows_total{{{at}, tier="student"}}': 900,
            f'cascade_rows_total{{{at}, tier="teacher"}}': 100,
            f"cascade_requests_total{{{well}}}": 900,
            """cascade_requests_total{table="adult's", class="realtime", code="INTERNAL"}""": 0,
        }
        identity = (
            'sloth_id="cascade-credit-realtime-availability", sloth_service="cascade", '
            'sloth_slo="credit-realtime-availability", instance="a"'
        )
        series = [{"series": name, "values": f"0+{step}x400"} for name, step in growing.items()] + [
            {"series": f"{name}{{{identity}}}", "values": "7x400"}
            for name in ("slo:error_budget:ratio", "slo:sli_error:ratio_rate5m")
        ]
        expected = [
            ("credit-realtime-availability", "page", 1),
            ("credit-realtime-availability", "ticket", 1),
            ("credit-realtime-latency-12.5ms", "ticket", 1),
            ("credit-realtime-fidelity-teacher", "ticket", 1),
        ]
        tests = {
            "rule_files": ["cascade.rules.yml"],
            "evaluation_interval": "2m",
            "tests": [
                {
                    "interval": "1m",
                    "input_series": series,
                    "promql_expr_test": [
                        {
                            "expr": "sum by (sloth_slo, severity) "
                            '(ALERTS{alertstate="firing", sloth_severity=~"page|ticket"})',
                            "eval_time": "6h30m",
                            "exp_samples": [
                                {
                                    "labels": f'{{sloth_slo="{slo}", severity="{severity}"}}',
                                    "value": value,
                                }
                                for slo, severity, value in expected
                            ],
                        },
                        {
                            # As the ledger has it: 1 - .1 / (1 - .99).
                            "expr": "round(sum by (sloth_slo) "
                            '(slo:period_error_budget_remaining:ratio{table="credit", '
                            'sloth_slo=~".*availability"}), 0.001)',
                            "eval_time": "6h30m",
                            "exp_samples": [
                                {
                                    "labels": '{sloth_slo="credit-realtime-availability"}',
                                    "value": -9,
                                }
                            ],
                        },
                    ],
                }
            ],
        }
        path = tmp_path / "tests.yml"
        path.write_text(yaml.safe_dump(tests))
        assert "SUCCESS" in run_promtool("test", "rules", path)

    def test_jobs_that_go_wrong_are_told_of_and_others_are_not(self, tmp_path: Path) -> None:
        """Two servers for two hours; in the second one all goes wrong that can."""
        (tmp_path / "cascade.rules.yml").write_text(to_yaml(rules(SloConfig(), TABLES)))
        gauges = {
            # Well, and not.
            "cascade_job_ledger_up": ("1+0x120", "0+0x120"),
            "cascade_job_oldest_pending_seconds": ("1800+0x120", "0+60x120"),
            "cascade_job_oldest_waiting_seconds": ("30+0x120", "0+60x120"),
            "cascade_job_disk_bytes": ("50+0x120", "95+0x120"),
            "cascade_job_disk_limit_bytes": ("100+0x120", "100+0x120"),
            'cascade_job_failures_total{{reason="release", {0}}}': ("3+0x120", "0+0x90 1+0x30"),
            "cascade_job_leases_lost_total": ("0+0x90 1+0x30", "0+1x120"),
        }
        series = [
            {
                "series": name.format(job) if "{" in name else f"{name}{{{job}}}",
                "values": values[number],
            }
            for name, values in gauges.items()
            for number, job in enumerate(('job="well"', 'job="ill"'))
        ]
        alerts = {rule["alert"]: rule["labels"]["severity"] for rule in job_group()["rules"]}
        tests = {
            "rule_files": ["cascade.rules.yml"],
            "evaluation_interval": "1m",
            "tests": [
                {
                    "interval": "1m",
                    "input_series": series,
                    "promql_expr_test": [
                        {
                            "expr": "sum by (alertname, severity, job) "
                            '(ALERTS{alertstate="firing", alertname=~"CascadeJob.*"})',
                            "eval_time": "2h",
                            "exp_samples": [
                                {
                                    "labels": f'{{alertname="{name}", severity="{severity}", '
                                    'job="ill"}',
                                    "value": 1,
                                }
                                for name, severity in alerts.items()
                            ],
                        }
                    ],
                }
            ],
        }
        path = tmp_path / "tests.yml"
        path.write_text(yaml.safe_dump(tests))
        assert "SUCCESS" in run_promtool("test", "rules", path)


def test_alerts_of_jobs_are_about_metrics_that_there_are(tmp_path: Path) -> None:
    exposed = {
        sample.name
        for metric in JobsCollector(tmp_path, 100, TABLES).collect()
        for sample in metric.samples
    }
    for rule in job_group()["rules"]:
        assert set(re.findall(r"cascade_\w+", rule["expr"])) <= exposed, rule["alert"]


def test_the_operators_resource_has_the_same_rules(tmp_path: Path) -> None:
    slo = tmp_path / "slo.yaml"
    slo.write_text(
        "objectives:\n  - {table: credit, class: realtime, availability: {target: 0.999}}\n"
    )

    def written(*options: str) -> dict[str, Any]:
        done = CliRunner().invoke(main, ["slo", "rules", "--slo", str(slo), *options])
        assert done.exit_code == 0, done.output
        content: dict[str, Any] = yaml.safe_load(done.stdout)
        return content

    found = written("--kubernetes", "scoring")
    assert (found["apiVersion"], found["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert found["metadata"]["name"] == "scoring"
    assert found["spec"] == written()
