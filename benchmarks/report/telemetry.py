"""The table of docs/observability.md, from what `benchmarks.telemetry` measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report.figures import kept, markdown

OF_WITHOUT = {"p50_ratio": "p50", "p99_ratio": "p99", "throughput_ratio": "calls/s"}
# By what a column is called, how its figures' names begin.
SHARES = {"the default share, 1 % of the calls": "", "every call": "all_"}


def telemetry_table(name: str, folder: Path) -> str:
    """A column a share of the calls; each figure is that of a server that traces none times it."""
    figures = kept(folder, f"telemetry-{name}")
    if figures is None:
        return ""
    columns = {
        title: {key: figures[f"{prefix}{key}"] for key in OF_WITHOUT}
        for title, prefix in SHARES.items()
    }
    return markdown(OF_WITHOUT, columns)
