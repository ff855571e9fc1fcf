"""The table of docs/reliability.md, from what `benchmarks.faults` saw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.report.figures import kept

HEAD = ("fault", "calls", "failed", "tried again", "late", "longest ms", "recovery s", "kept")


def faults_table(name: str, folder: Path) -> str:
    """A row a fault; none where it was not measured."""
    figures = kept(folder, name or "faults")
    if figures is None:
        return ""
    lines = [HEAD, ("---", *["---:"] * 6, "---")]
    lines += [_row(each) for each in figures["faults"]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _row(fault: Mapping[str, Any]) -> tuple[str, ...]:
    saw, words = fault["seen"], fault["words"]
    if saw is None:
        return words, *[""] * 6, f"skipped: {fault['skipped']}"
    recovery = "not within the run" if saw["recovery_s"] is None else f"{saw['recovery_s']:.2f}"
    kept_words = ", ".join(
        what if holds else f"**not: {what}**" for what, holds in fault["kept"].items()
    )
    return (
        words,
        f"{saw['calls']:,}",
        _counts(saw["failed"]),
        _counts(saw["retried"]),
        str(saw["late"]),
        f"{saw['longest_ms']:,.0f}",
        recovery,
        kept_words,
    )


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {code}" for code, count in sorted(found.items())) or "0"
