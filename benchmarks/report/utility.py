"""The tables of docs/utility.md, from what `benchmarks.utility` measured of each table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.learning.utility.methods import AUGMENTATION, LATE
from benchmarks.report.figures import kept, markdown

METRICS = {
    "average_precision": "average precision",
    "auc": "AUC",
    "brier": "Brier score",
    "ece": "calibration error",
}
OURS = "student_32"


def utility_table(name: str, folder: Path) -> str:
    """Of "credit-3": every method with three features late; of "credit-gains": 32 draws of the
    student less every other method, by how many are late; of "credit-augmentation": part (b)."""
    table, _, what = name.rpartition("-")
    figures = (kept(folder, f"utility-{table}") or {}).get("tables", {}).get(table)
    if figures is None:
        return ""
    if what == "augmentation":
        return _methods(figures.get("augmentation"), AUGMENTATION, "seconds", "s to make rows")
    if what == "gains":
        return _gains(figures.get("late", {}))
    return _methods(figures.get("late", {}).get(what), LATE, "ms", "ms a row")


def _methods(
    part: Mapping[str, Any] | None, labels: Mapping[str, str], time: str, time_label: str
) -> str:
    if part is None:
        return ""
    columns: dict[str, dict[str, Any]] = {
        label: {name: _interval(each[metric]) for name, each in part["methods"].items()}
        for metric, label in METRICS.items()
    }
    columns[time_label] = {name: f"{each[time]:.1f}" for name, each in part["methods"].items()}
    return markdown(labels, columns)


def _gains(late: Mapping[str, Any]) -> str:
    columns = {
        f"{k} late": {
            pair.partition(" - ")[2]: _interval(each["average_precision"], "+.3f")
            for pair, each in found["differences"].items()
            if pair.startswith(f"{OURS} - ")
        }
        for k, found in late.items()
    }
    return markdown(LATE, columns) if columns else ""


def _interval(value: list[float], form: str = ".3f") -> str:
    mean, low, high = (f"{each:{form}}".replace("-", "−") for each in value)
    return f"{mean} ({low} to {high})"
