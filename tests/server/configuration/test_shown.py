"""What is told of settings: `--print-config`, `--help`, the page of docs/."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from cascade_cli.program import main
from cascade_server.config import SETTINGS
from cascade_server.configuration.shown import as_file, as_table, as_yaml, with_table
from cascade_server.configuration.sources import effective
from cascade_tables.yaml_files import parse_yaml
from click.testing import CliRunner, Result

ROOT = Path(__file__).parents[3]
# For each setting something that is not its default.
OTHERS: dict[str, Any] = {
    # Without Ray its address is refused.
    "executor": "ray://head:10001" if find_spec("ray") else "local",
    "executor_name": "cloud",
    "job_outputs": ("/data", "s3://bucket/jobs"),
    "repository": "s3://bucket/path",
    "serve": ["credit=1,3", "adult"],
    "version_policy": "1,3",
    "transport": "grpcio",
    "host": "::1",
    "ops_host": "::1",
    "ops_names": ("ops.example", "ops"),
    "runtime": "tritons://a:1,[::1]:2",
    "runtime_ca": "tls/ca.pem",
    "runtime_certificate": "tls/me.crt",
    "runtime_key": "tls/me.key",
    "tls_certificate": "a folder/tls.crt",
    "tls_key": "a folder/tls.key",
    "tls_client_ca": "a folder/ca.crt",
    "tls_client_certificates": "required",
    "tls_minimum_version": "1.3",
    "cache_url": "redis://h:1/0",
    "prices": "prices.yaml",
    "slo": "a folder/slo: #1.yaml",
    "state_dir": "no",
    "canary_share": 0.05,
    "otlp_endpoint": "http://collector:4318",
    "trace_share": 0.5,
    "service_name": "fraud: scoring",
    "log_format": "json",
    "log_level": "info",
}


def other(name: str) -> Any:
    (of,) = (each for each in SETTINGS if each.name == name)
    if name in OTHERS:
        return OTHERS[name]
    if of.kind is bool:
        return not of.default
    assert of.low is not None
    return of.kind(of.low) if of.low != of.default else of.kind(of.low) + 1


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    for each in SETTINGS:
        monkeypatch.delenv(each.variable, raising=False)

    def serve(*arguments: str, **environment: str) -> Result:
        return CliRunner().invoke(main, ["serve", *arguments], env=environment)

    return serve


class TestPrintConfig:
    def test_it_can_be_used_as_a_file(self, tmp_path: Path, run: Run) -> None:
        """Every setting, with a value that is not its default."""
        # Files that are read, too.
        policy = tmp_path / "a policy.yaml"
        policy.write_text(
            "tables: {'*': {residency: anywhere, sensitivity: public}}\n"
            "executors: {local: {region: here, trust: public}}\n"
        )
        access = tmp_path / "an access.yaml"
        access.write_text("tenants: {fraud: {tables: [credit], may: [synthesize]}}\n")
        read = {"policy": str(policy), "access": str(access)}
        names = [each.name for each in SETTINGS if each.name not in read]
        flags = {**read, **{name: other(name) for name in names}}
        before = effective(flags, {})
        path = tmp_path / "cascade.yaml"
        path.write_text(as_file(before))
        after = effective({}, {}, path)
        assert after.fields() == before.fields()
        assert all(each.source.startswith(f"{path} line ") for each in after.found.values())
        again = run("--config", str(path), "--print-config")
        assert again.exit_code == 0
        remarks = re.compile(r" *# [^\"]*$", re.MULTILINE)
        assert remarks.sub("", again.stdout) == remarks.sub("", path.read_text())

    def test_it_says_where_each_value_comes_from(self, tmp_path: Path, run: Run) -> None:
        path = tmp_path / "c.yaml"
        path.write_text("\nmax_rows: 7\n")
        said = run("--config", str(path), "--print-config", "--workers", "2", CASCADE_POOL_MIB="0")
        assert said.exit_code == 0
        lines = [re.sub(" +", " ", line) for line in said.stdout.splitlines()]
        assert "# Calls" in lines
        assert f"max_rows: 7 # {path} line 2" in lines
        assert "workers: 2 # --workers" in lines
        assert "pool_mib: 0 # CASCADE_POOL_MIB" in lines
        assert "port: 8470 # default" in lines

    def test_a_password_is_not_shown(self, tmp_path: Path, run: Run) -> None:
        said = run("--print-config", CASCADE_CACHE_URL="redis://me:sesame@host:6379/0")
        assert "sesame" not in said.output
        (line,) = (each for each in said.stdout.splitlines() if "cache_url" in each)
        assert line == (
            '# cache_url: "redis://…@host:6379/0" # CASCADE_CACHE_URL; its password is not shown: '
            "set CASCADE_CACHE_URL"
        )
        path = tmp_path / "cascade.yaml"
        path.write_text(said.stdout)
        assert effective({}, {}, path)["cache_url"] is None

    def test_nor_that_of_a_repository(self, run: Run) -> None:
        """A path with an @ in it has none."""
        for repository, shown in (
            ("s3://KEY:sesame@bucket/a", "s3://…@bucket/a"),
            ("/a@b", "/a@b"),
        ):
            said = run("--print-config", "--repository", repository)
            assert "sesame" not in said.output
            (line,) = (each for each in said.stdout.splitlines() if "repository:" in each)
            assert shown in line
            assert line.startswith("#") is ("://" in repository)

    def test_what_is_wrong_is_refused_there_too(self, run: Run) -> None:
        said = run("--print-config", "--port", "x")
        assert said.exit_code == 1
        assert said.stderr == "Error: --port is 'x'; allowed: a whole number, 0 to 65535\n"
        said = run("--print-config", "--version-policy", "newest")
        assert said.exit_code == 1
        assert "Error: --version-policy: version policy is 'newest'; allowed: all, latest" in (
            said.stderr
        )
        said = run("--print-config", CASCADE_SERVE="credit=1 credit=2")
        assert said.exit_code == 1
        assert said.stderr == (
            "Error: CASCADE_SERVE: serve has 'credit=2'; allowed: TABLE or TABLE=POLICY, each "
            "table once\n"
        )

    def test_a_variable_that_is_nearly_one_is_told_of(self, run: Run) -> None:
        said = run("--print-config", CASCADE_POOL_MB="0")
        assert said.stderr.startswith("Warning: CASCADE_POOL_MB is no setting")

    @pytest.mark.parametrize(
        "value",
        [
            "true",
            "no",
            "NULL",
            "12",
            "1.5",
            "a: b",
            "a:b",
            "#",
            "x #y",
            "a\nb",
            "'",
            "é",
            "127.0.0.1",
        ],
    )
    def test_texts_are_texts(self, value: str) -> None:
        assert parse_yaml(f"k: {as_yaml(value)}")[0] == {"k": value}


class TestHelp:
    def test_every_setting_is_there_under_its_heading(self, run: Run) -> None:
        said = run("--help").stdout
        assert re.findall(r"^  (--(?!help)[a-z-]+) ", said, re.MULTILINE) == [
            *(each.flag for each in SETTINGS),
            "--config",
            "--print-config",
        ]
        for section in {each.section for each in SETTINGS}:
            assert f"\n{section}:\n" in said

    def test_defaults_and_ranges(self, run: Run) -> None:
        said = " ".join(run("--help").stdout.split())
        assert "Port to listen on; 0: any free one. [default: 8470; 0 to 65535]" in said
        assert "[default: 64; 0 to 1048576 MiB]" in said


class TestThePage:
    PAGE = ROOT / "docs/configuration.md"

    def test_its_table_is_that_of_the_settings(self) -> None:
        page = self.PAGE.read_text()
        assert with_table(page) == page, "it is not; run: make configuration"

    def test_every_setting_has_a_row(self) -> None:
        rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \|", as_table(), re.MULTILINE)
        assert [name for name, _ in rows] == [each.name for each in SETTINGS]
        assert ("pool_mib", "64") in rows

    def test_a_page_without_marks_is_refused(self) -> None:
        with pytest.raises(ValueError, match="has no"):
            with_table("a page")

    def test_its_example_is_a_file(self, tmp_path: Path) -> None:
        (example,) = re.findall(r"^```yaml\n(.*?)^```", self.PAGE.read_text(), re.M | re.S)
        path = tmp_path / "cascade.yaml"
        path.write_text(example)
        assert len({each.source for each in effective({}, {}, path).found.values()}) > 3
