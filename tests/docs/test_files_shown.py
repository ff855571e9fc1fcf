"""Files that docs/ shows are read by whoever is to read them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cascade_cost.prices import parse_prices
from cascade_loadtest import sla
from cascade_tables import load_overrides, load_relation_overrides

from tests.docs.pages import ROOT, Snippet, snippets


def shown(page: str) -> list[Snippet]:
    """What a page shows of files in YAML."""
    return snippets(ROOT / "docs" / page, "yaml")


@pytest.mark.parametrize("snippet", [*shown("files.md"), *shown("relations.md")], ids=str)
def test_a_schema_file_corrects(snippet: Snippet, tmp_path: Path) -> None:
    file = tmp_path / "schema.yaml"
    file.write_text(snippet.text)
    assert load_overrides(file) or load_relation_overrides(file)


def test_promises_of_a_load_test(tmp_path: Path) -> None:
    (snippet,) = shown("loadtest.md")
    file = tmp_path / "sla.yaml"
    file.write_text(snippet.text)
    assert len(sla.load(file, ["features late", "no history"])) == 4


def test_prices() -> None:
    (snippet,) = shown("cost.md")
    assert parse_prices(snippet.text).reserved is not None
