"""Average precision of every method over how many features are late, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.learning.utility.methods import LATE

# What is drawn, from the bottom up; the others are in the tables.
DRAWN = (
    "xgboost",
    "median_mode",
    "knn",
    "iterative",
    "xgboost_hidden",
    "student_1",
    "student_8",
    "student_32",
    "teacher_32",
    "without_them",
    "nothing_missing",
)
OURS, BOUND, OTHERS = "#0b6e4f", "#333333", "#9aa5b1"


def plot(figures: dict[str, Any], path: Path) -> None:
    """A row of axes a table, one for each k; points are means, lines 95 % intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    tables = {name: each["late"] for name, each in figures["tables"].items() if each.get("late")}
    if not tables:
        return
    ks = max(map(len, tables.values()))
    figure, grid = pyplot.subplots(
        len(tables),
        ks,
        figsize=(3.4 * ks + 2.4, 0.2 + 3.0 * len(tables)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for row, (table, late) in zip(grid, tables.items(), strict=True):
        low = min(_value(each, name)[1] for each in late.values() for name in each["methods"])
        high = max(_value(each, name)[2] for each in late.values() for name in each["methods"])
        for axes, (k, each) in zip(row, late.items(), strict=False):
            shown = [name for name in DRAWN if name in each["methods"]]
            for at, name in enumerate(shown):
                mean, lower, upper = _value(each, name)
                ours = name.startswith(("student", "teacher"))
                color = OURS if ours else BOUND if name in DRAWN[-2:] else OTHERS
                axes.plot([lower, upper], [at, at], color=color, linewidth=2, alpha=0.5)
                axes.plot([mean], [at], "o", color=color, markersize=6)
                axes.annotate(
                    f"{mean:.3f}",
                    (mean, at),
                    (0, 5),
                    textcoords="offset points",
                    ha="center",
                    fontsize=7,
                    color=color,
                )
            axes.set_yticks(range(len(shown)), [LATE[name].partition(":")[0] for name in shown])
            axes.set_ylim(-0.6, len(shown) - 0.2)
            axes.set_xlim(low - 0.02, high + 0.02)
            axes.set_title(f"{table}: {k} most important late", fontsize=9)
            axes.tick_params(labelsize=8)
            axes.grid(alpha=0.25, axis="x")
    for axes in grid[-1]:
        axes.set_xlabel("average precision", fontsize=8)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _value(each: dict[str, Any], name: str) -> list[float]:
    found: list[float] = each["methods"][name]["average_precision"]
    return found
