"""Every command that docs/ shows can be typed: the program knows it, and takes all of its options.

What the commands of README do is tried in tests/test_readme.py, and what the others do beside the
code that does it; here they are read as the program would read them.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest
from cascade_cli.program import main
from click.testing import CliRunner

from tests.docs.pages import PAGES, ROOT, Command, commands, snippets

# Programs of others, whose arguments are theirs.
FOREIGN = {
    "docker",
    "ssh",
    "kubectl",
    "kustomize",
    "cd",
    "pip",
    "psql",
    "promtool",
    "prometheus",
    "alias",
}
# Shorthands that a page has its reader make.
ALIASES = {"releases": ("cascade", "releases", "--state-dir", "/var/lib/cascade")}

# Files that commands name, and the pages that show what such a file holds.
FILES = {
    "access.yaml": "docs/access.md",
    "cascade.yaml": "docs/configuration.md",
    "policy.yaml": "docs/residency.md",
    "slo.yaml": "docs/sla.md",
}


def of_cascade() -> list[Command]:
    """What is asked of the `cascade` program, aliases written out, in README and docs/."""
    found = []
    for command in commands():
        words = (*ALIASES.get(command.words[0], command.words[:1]), *command.words[1:])
        if words[0] == "docker" and "exec" in words:
            words = words[words.index("exec") + 2 :]
        if words[0] == "cascade":
            found.append(Command(command.where, words, command.fails))
    return found


def parsed(command: click.Command, words: list[str], parent: click.Context | None = None) -> str:
    """The name of the command that words end up at.

    Raises:
        click.UsageError: it does not take them.
    """
    context = command.make_context(command.name, words, parent=parent)
    if not isinstance(command, click.Group):
        return str(context.command_path)
    _, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    assert inner is not None
    return parsed(inner, rest, context)


@pytest.mark.parametrize(
    "command", [each for each in of_cascade() if each.words[1] != "serve"], ids=str
)
def test_the_program_takes_it(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    # The files that a page speaks of are its reader's.
    monkeypatch.setattr(click.Path, "convert", lambda self, value, *_: Path(value))
    parsed(main, list(command.words[1:]))


@pytest.mark.parametrize(
    "command",
    [each for each in of_cascade() if each.words[1] == "serve" and not each.fails],
    ids=str,
)
def test_a_server_would_be_configured_by_it(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, page in FILES.items():
        (file,) = snippets(ROOT / page, "yaml")
        (tmp_path / name).write_text(file.text)
    shown = {"--print-config"} - set(command.words)
    result = CliRunner().invoke(main, [*command.words[1:], *shown])
    assert result.exit_code == 0, result.output


def test_other_programs_are_known() -> None:
    ours = {"cascade", "make", "python", *ALIASES}
    named = {Path(command.words[0]).name for command in commands()}
    assert named - FOREIGN - ours <= {"locust", "grpcurl", "curl"}


def test_modules_and_targets_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    missing: list[Any] = []
    for page in PAGES:
        text = page.read_text()
        modules = re.findall(r"python -m ((?:benchmarks|examples|cascade_\w+)[\w.]*)", text)
        missing += [(page.name, name) for name in modules if find_spec(name) is None]
        made = re.findall(r"(?:`|\$ )make ([a-z-]+)", text)
        missing += [(page.name, name) for name in made if name not in targets]
    assert missing == []
