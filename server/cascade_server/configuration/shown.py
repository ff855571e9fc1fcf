"""Settings for people to read: `--print-config`, the table of docs/configuration.md, and the file
of settings of a deployment."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

from cascade_server.config import SETTINGS
from cascade_server.configuration.sources import Effective, effective
from cascade_server.settings import Setting, plain

# Texts that YAML reads as themselves without quotes, or nearly all of them.
_PLAIN = re.compile(
    r"(?!(?:true|false|null)$)[a-z/][a-z0-9_./-]*(?::[a-z0-9_./-]+)*|\d+(?:\.\d+){3}", re.IGNORECASE
)
# Of a line of remarks in a file.
WIDTH = 100
BEGIN, END = "<!-- settings: make configuration -->", "<!-- end -->"


def as_file(held: Effective) -> str:
    """What holds, as a YAML file for `--config`; a remark says where each value comes from.

    A password is not shown: its line is a remark as a whole.
    """
    out: list[str] = []
    for section, settings in groupby(SETTINGS, key=lambda each: each.section):
        lines = []
        for each in settings:
            found = held.found[each.name]
            line, source = f"{each.name}: {as_yaml(found.value)}", found.source
            if each.secret and (text := each.without_secret(found.value)) != str(found.value):
                line = f"# {each.name}: {as_yaml(text)}"
                source += f"; its password is not shown: set {each.variable}"
            lines.append(f"{line:<31} # {source}")
        out += ["", f"# {section}", *lines]
    return "\n".join(out[1:]) + "\n"


def as_given(held: Effective, header: Iterable[str]) -> str:
    """What was given, as a YAML file for `--config`, each value under what it is and may be.

    Args:
        held: settings, some of which come from elsewhere than their defaults.
        header: lines that the file begins with.
    """
    out = list(header)
    for section, settings in groupby(SETTINGS, key=lambda each: each.section):
        lines = []
        for each in settings:
            found = held.found[each.name]
            if found.source != "default":
                said = f"{each.help} Allowed: {each.range or each.allowed}."
                lines += textwrap.wrap(said, WIDTH, initial_indent="# ", subsequent_indent="# ")
                lines.append(f"{each.name}: {as_yaml(found.value)}")
        if lines:
            out += ["", f"# -- {section} --", *lines]
    return "\n".join(out) + "\n"


def written_anew(path: Path) -> str:
    """A file of settings in the words of now: what it begins with, and its values, stay.

    Raises:
        ConfigError: it is none; names the lines.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    return as_given(effective({}, {}, path), takewhile(lambda line: line.startswith("#"), lines))


def as_yaml(value: Any) -> str:
    """A setting's value in YAML, on one line."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return plain(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(json.dumps(each, ensure_ascii=False) for each in value) + "]"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def as_table(settings: Iterable[Setting] = SETTINGS) -> str:
    """The settings as Markdown, a table for each section."""
    out = []
    for section, members in groupby(settings, key=lambda each: each.section):
        out += [f"### {section}", "", "| setting | default | allowed | |", "|---|---|---|---|"]
        for each in members:
            allowed = (each.range or each.allowed).removesuffix(", or none")
            allowed += ", or `none`" if each.optional else ""
            default = as_yaml(each.default).replace("|", r"\|")
            out.append(
                f"| `{each.name}` | `{default}` | {allowed} | {each.help} |".replace(
                    "FOLDER|URL", r"FOLDER\|URL"
                )
            )
        out.append("")
    return "\n".join(out)


def with_table(page: str) -> str:
    """A page with the table of now between its two marks.

    Raises:
        ValueError: it has no such marks.
    """
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"the page has no {BEGIN} with {END} after it")
    return f"{before}{BEGIN}\n\n{as_table()}\n{END}{after}"


def main(arguments: Sequence[str]) -> None:
    """Write what is said of settings into pages of Markdown, and into files of settings:
    `python -m cascade_server.configuration.shown PAGE.md FILE.yaml ...`."""
    for each in map(Path, arguments):
        is_page = each.suffix == ".md"
        text = with_table(each.read_text(encoding="utf-8")) if is_page else written_anew(each)
        each.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
