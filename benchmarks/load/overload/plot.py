"""Goodput, p99 and tiers over the offered load, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.load.overload.parts import MANY

DRAWN = (
    ("alone", "alone"),
    ("over_many", f"over {MANY} connections"),
    ("beside_a_flood", "beside an offline flood"),
)


def plot(figures: dict[str, Any], path: Path) -> None:
    """Draw what a run measured of callers that refuse, alone and beside the flood."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (goodput, p99, tiers) = pyplot.subplots(
        3, 1, figsize=(7, 8), sharex=True, layout="constrained"
    )
    for key, label in DRAWN:
        loads = figures.get(key, [])
        x = [each["load"] for each in loads]
        goodput.plot(x, [each["goodput_per_s"] for each in loads], marker="o", label=label)
        p99.plot(x, [each["p99_ms"] for each in loads], marker="o", label=label)
        tiers.plot(x, [100 * each["teacher"] for each in loads], marker="o", label=label)
    alone = figures.get("alone", [])
    offered = [each["offered_per_s"] for each in alone]
    goodput.plot([each["load"] for each in alone], offered, color="grey", ls=":", label="offered")
    goodput.set_ylim(0, 1.5 * figures.get("capacity_per_s", 1.0))
    p99.axhline(figures["realtime_objective_ms"], color="grey", linestyle=":", label="objective")
    p99.set_ylim(0, 1.1 * figures["deadline_ms"])
    tiers.set_ylim(0, 100)
    goodput.set_ylabel("answers in time, 1/s")
    p99.set_ylabel("p99 of them, ms")
    tiers.set_ylabel("from the teacher, %")
    tiers.set_xlabel("offered load over capacity")
    for axes in (goodput, p99, tiers):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path)
