"""What the pages of docs/ show: their snippets, and the commands that are typed in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@dataclass(frozen=True)
class Snippet:
    """A fenced block.

    Attributes:
        page: where it stands, relative to the project.
        line: of the page, from 1, at which its first line stands.
        language: as the fence says; "" where it says nothing.
        text: what it holds.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets(page: Path, language: str) -> list[Snippet]:
    """Those of a page in one language, from the top."""
    text = page.read_text()
    return [
        Snippet(
            page.relative_to(ROOT).as_posix(),
            text.count("\n", 0, match.start()) + 2,
            match[1],
            match[2],
        )
        for match in re.finditer(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        if match[1] == language
    ]


@dataclass(frozen=True)
class Command:
    """One program that is started in a line that is typed.

    Attributes:
        where: page and line of the snippet.
        words: the program and its arguments, without variables set before it and redirections.
        fails: whether the page shows that it is refused.
    """

    where: str
    words: tuple[str, ...]
    fails: bool

    def __str__(self) -> str:
        return f"{self.where} {' '.join(self.words)}"


def commands() -> list[Command]:
    """Of all pages: what stands behind a `$` in a console."""
    return [
        command
        for page in PAGES
        for snippet in snippets(page, "console")
        for command in _typed(snippet)
    ]


def _typed(snippet: Snippet) -> list[Command]:
    lines = re.sub(r"\\\n\s*", "", snippet.text).splitlines()
    found = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if not line.startswith("$ "):
            continue
        fails = following.startswith("Error")
        for part in re.split(r"&&|(?<!\|)\|(?!\|)", re.sub(r"\s#\s.*", "", line[2:])):
            words = shlex.split(re.sub(r">>?\s*\S+", "", part.strip(" ()&")))
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                del words[0]
            if words and words[0] != "export":
                found.append(Command(str(snippet), tuple(words), fails))
    return found
