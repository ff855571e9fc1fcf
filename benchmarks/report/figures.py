"""Figures that were kept, and tables of them in Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def kept(folder: Path, name: str) -> dict[str, Any] | None:
    """A benchmark's JSON object; None where it has not been run."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def markdown(labels: Mapping[str, str], columns: Mapping[str, Mapping[str, Any]]) -> str:
    """A row a label, a column an entry; what an entry lacks stays empty."""
    lines = [["", *columns], ["---", *("---:" for _ in columns)]]
    for key, label in labels.items():
        if any(key in column for column in columns.values()):
            lines.append([label, *(cell(column.get(key)) for column in columns.values())])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(value: float | str | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
