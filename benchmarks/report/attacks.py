"""The table of docs/attacks.md, from what `benchmarks.attacks` saw of both transports."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report.figures import kept, markdown

ATTACKS = {
    "held": "attacks that are held, of those that were tried",
    "worst_good_ms": "the good caller's longest call, ms",
    "worst_attack": "beside",
    "rss_growth_mib": "memory a connection at most, MiB",
}
# By what a column is called; none that is not kept.
FILES = {"our transport": "attacks", "grpcio's server": "attacks-grpcio"}


def attacks_table(folder: Path) -> str:
    """A column a transport; that on which nothing is attacked is no attack."""
    columns = {}
    for title, name in FILES.items():
        figures = kept(folder, name)
        if figures is not None:
            tried = [each["held"] for each in figures["attacks"] if each["name"] != "nothing"]
            held = f"{sum(tried)} of {len(tried)}"
            worst = f"`{figures['worst_attack']}`"
            columns[title] = figures | {"held": held, "worst_attack": worst}
    return markdown(ATTACKS, columns)
