"""Decisions (docs/adr) have numbers of their own, and what leads to one leads to one there is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))


def test_each_has_the_next_number_and_says_it() -> None:
    numbers = [int(path.name[:4]) for path in DECISIONS]
    assert numbers == list(range(1, len(numbers) + 1))
    for number, path in zip(numbers, DECISIONS, strict=True):
        assert re.match(rf"# {number}\. \S", path.read_text()), path.name


def test_what_leads_to_one_leads_to_one_that_there_is() -> None:
    names = {path.name for path in DECISIONS}
    numbers = {path.name[:4] for path in DECISIONS}
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    led = [
        (page.name, found)
        for page in pages
        for found in re.findall(r"adr/(\d{4}(?:-[a-z0-9-]+\.md)?)", page.read_text())
    ]
    assert led
    assert [each for each in led if each[1] not in names | numbers] == []
