"""docs/loadtest.md: what it shows is what is taken."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml
from cascade_loadtest.run.options import parser
from cascade_loadtest.schedule.profiles import PROFILES
from cascade_loadtest.schedule.traces import parse as traced
from cascade_loadtest.scoring import SITUATIONS
from cascade_loadtest.sla import OTHERS, parse
from cascade_loadtest.users.kinds import KINDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/loadtest.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_trace() -> None:
    for number, line in enumerate(block("json").splitlines()):
        assert traced(json.loads(line), f"line {number}").table == "credit"


def test_the_promises() -> None:
    promises = parse(yaml.safe_load(block("yaml")), [each.name for each in SITUATIONS])
    assert len(promises) == 1 + len(OTHERS)


def test_names_are_those_that_there_are() -> None:
    options = parser("").format_help()
    for option in re.findall(r"`(--[a-z-]+)", PAGE):
        assert option in options or option in (
            "--master",
            "--worker",
            "--class-picker",
            "--outcomes",
            "--help",
        ), option
    for name in PROFILES:
        assert f"`{name}`" in PAGE
    for name in re.findall(r"`((?:scoring|misbehaving): [a-z ]+)`", PAGE):
        assert name in KINDS
    for figure in re.findall(r"\((figures/[^)]+)\)", PAGE):
        assert (ROOT / "docs" / figure).exists(), figure
