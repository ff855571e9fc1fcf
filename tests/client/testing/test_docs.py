"""docs/testing.md is a promise: its snippets are run as they stand, one after the other."""

from __future__ import annotations

from typing import Any

from tests.docs.pages import ROOT, snippets


def test_snippets() -> None:
    names: dict[str, Any] = {}
    shown = snippets(ROOT / "docs/testing.md", "python")
    assert len(shown) >= 7
    for snippet in shown:
        exec(snippet.text, names)
