"""The README is a promise: its commands and snippets are run as they stand."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from cascade_cli.program import main
from cascade_distill import recipes
from cascade_server.config import ServerConfig
from cascade_tables import load_overrides, load_relation_overrides
from click.testing import CliRunner

from tests.distill.made_up import payments
from tests.docs.pages import ROOT, snippets
from tests.server.running import Running, running

README = (ROOT / "README.md").read_text()
ADDRESS = "127.0.0.1:8470"


def blocks(language: str) -> list[str]:
    return [each.text for each in snippets(ROOT / "README.md", language)]


def commands() -> list[str]:
    """Lines that are typed, without what a `#` remarks."""
    lines = "".join(blocks("console")).splitlines()
    return [line[2:].partition(" #")[0].strip() for line in lines if line.startswith("$ ")]


def cascade(command: str) -> None:
    """Run one line: cascade …, and what comes after `>` is a file for its output."""
    words, _, file = command.partition(">")
    result = CliRunner().invoke(main, shlex.split(words)[1:])
    assert result.exit_code == 0, f"{command}\n{result.output}"
    assert result.output.strip()
    if file:
        Path(file.strip()).write_text(result.stdout)


@pytest.fixture(scope="module")
def serving() -> Iterator[Running]:
    """The bundled releases."""
    with running(ServerConfig(repository=ROOT / "model_repository", port=0)) as server:
        yield server


def test_asking(serving: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASCADE_TARGET", serving.target)
    asking = [command for command in commands() if command.startswith("cascade ask")]
    assert len(asking) >= 2
    for command in asking:
        cascade(command)
    assert (tmp_path / "defaults.json").stat().st_size > 10_000


@pytest.mark.parametrize("snippet", blocks("python"))
def test_snippets(serving: Running, snippet: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(snippet.replace(ADDRESS, serving.target), names)
    assert "credit v" in capsys.readouterr().out
    assert len(names["frame"]) == 1000


@pytest.mark.usefixtures("few_trees")
def test_learning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command from a CSV file to a release, with few steps of training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    payments(600, 0).to_csv("payments.csv", index=False)
    payments(300, 1).to_csv("held_out.csv", index=False)
    Path("payments.yaml").write_text("columns:\n  at: {drop: true}\n")
    for name in ("teacher_recipe", "student_recipe"):
        recipe = getattr(recipes, name)(540, 6)
        short: dict[str, Any] = {"train": replace(recipe.train, steps=20)}
        if name == "student_recipe":
            short["rows"] = 2000
        short_recipe = replace(recipe, **short)
        monkeypatch.setattr(recipes, name, lambda *_, r=short_recipe, **__: r)
    learning = [
        command
        for command in commands()
        if re.match("cascade (fit|distill|evaluate|release)", command)
    ]
    assert [command.split()[1] for command in learning] == [
        "fit",
        "fit",
        "distill",
        "evaluate",
        "release",
    ]
    for command in learning:
        cascade(command)
    assert (tmp_path / "model_repository/payments/1/release.json").exists()


def test_overrides(tmp_path: Path) -> None:
    path = tmp_path / "overrides.yaml"
    (text,) = blocks("yaml")
    path.write_text(text)
    assert load_overrides(path).keys() == {"zip_code", "amount", "session"}
    assert len(load_relation_overrides(path)) == 1


def test_torch_is_pinned_as_the_readme_says() -> None:
    (pinned,) = re.findall(r"pip install (torch==\S+)", README)
    assert pinned in (ROOT / "constraints.txt").read_text().splitlines()


@pytest.mark.parametrize("document", [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md"])
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if not link.startswith("https://"):
            assert (document.parent / link).exists(), link


def test_service_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of "Run it", with the objectives that docs/sla.md shows."""
    monkeypatch.chdir(tmp_path)
    (page,) = snippets(ROOT / "docs/sla.md", "yaml")
    slo = tmp_path / "slo.yaml"
    slo.write_text(page.text)
    assert "cascade sla --watch" in commands()
    config = ServerConfig(
        repository=ROOT / "model_repository",
        port=0,
        slo=slo,
        state_dir=tmp_path / "state",
        metrics_port=0,
    )
    with running(config) as server:
        monkeypatch.setenv("CASCADE_TARGET", server.target)
        cascade("cascade ask credit --given age=25")
        cascade("cascade sla > sla.txt")
        table = Path("sla.txt").read_text()
        assert table.startswith("scoring at ")
        assert re.search("95 % within 5 ms", table)
    repository = ROOT / "model_repository"
    cascade(f"cascade slo rules --slo slo.yaml --repository {repository} > cascade.rules.yml")
    assert "scoring-credit-realtime-fidelity-teacher" in Path("cascade.rules.yml").read_text()


def test_operating(serving: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of a running server, and how many of them it takes."""
    monkeypatch.setenv("CASCADE_TARGET", serving.target)
    asked = [each for each in commands() if re.match("cascade (health|cost|size)", each)]
    assert [each.split()[1] for each in asked] == ["health", "cost", "size"]
    for command in asked:
        cascade(command)


def test_what_it_is_worth_is_what_was_measured() -> None:
    figures = json.loads((ROOT / "docs/figures/utility-credit.json").read_text())
    methods = figures["tables"]["credit"]["late"]["3"]["methods"]
    (said,) = re.findall(r"^With three late, average precision is .*?\. ", README, re.M | re.S)
    names = ("student_32", "xgboost", "median_mode", "without_them")
    means = [methods[name]["average_precision"][0] for name in names]
    assert re.findall(r"\.\d{3}", said) == [f"{mean:.3f}".removeprefix("0") for mean in means]
    modules = re.findall(r"python -m (examples\.\w+)", README)
    assert modules
    for module in modules:
        assert find_spec(module) is not None


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"make ([a-z-]+)", README + (ROOT / "CONTRIBUTING.md").read_text())
    assert set(named) - targets == set()
