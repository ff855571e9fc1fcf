"""The tables of docs/cost.md and docs/sizing.md, from what was measured for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cascade_cost.curves import MEASURED

from benchmarks.report.figures import kept, markdown

TIERS = ("pool", "cache", "student", "teacher", "job")


def costs_table(name: str, folder: Path) -> str:
    """Of tiers, of columns or of draws; nothing where it was not measured."""
    figures = kept(folder, "cost")
    if figures is None:
        return ""
    currency = figures["currency"]
    if name == "columns":
        columns = {
            f"{each['table']}, {each['columns']} columns": {
                **{f"cost_{tier}": dollars(each["usd_per_10k"].get(tier)) for tier in TIERS},
                "saved": percent(each["student_saved_ratio"]),
                **{f"mb_{tier}": each["peak_memory_mb"].get(tier) for tier in TIERS},
            }
            for each in figures["by_columns"]
        }
        labels = {
            **{f"cost_{tier}": f"{tier}, {currency} for 10,000 rows" for tier in TIERS},
            "saved": "saved by a row of the student",
            **{f"mb_{tier}": f"{tier}, MiB at most" for tier in TIERS},
        }
        return markdown(labels, columns)
    if name == "draws":
        draws = {
            f"{each['draws']} draws": {
                "row": dollars(each["usd_per_10k"]),
                "call": dollars(each["usd_per_10k_calls"]),
                "ms": each["core_ms_a_call"],
            }
            for each in figures["by_draws"]
        }
        labels = {
            "row": f"{currency} for 10,000 rows",
            "call": f"{currency} for 10,000 calls",
            "ms": "processor ms a call",
        }
        return markdown(labels, draws)
    tiers = {
        tier: {
            "cost": dollars(figures["usd_per_10k"].get(tier)),
            "ms": figures["core_ms_a_row"].get(tier),
            "mb": figures["peak_memory_mb"].get(tier),
            "rows": figures["rows"].get(tier),
        }
        for tier in TIERS
    }
    labels = {
        "cost": f"{currency} for 10,000 rows",
        "ms": "processor ms a row",
        "mb": "memory, MiB at most",
        "rows": "rows",
    }
    return markdown(labels, tiers)


def sizing_table(name: str, curves: Path = MEASURED) -> str:
    """Of kinds of calls, or of how late they are where a worker is busy."""
    found: Mapping[str, Any] = json.loads(curves.read_text())
    if name == "busy":
        shares = {
            f"{100 * each['utilisation']:.0f} %": {"ratio": each["p99_ratio"]}
            for each in found["busy"]
        }
        return markdown({"ratio": "p99, of that of calls alone"}, shares)
    kinds = {
        f"{each['table']}, {each['columns']} columns: {each['late']} late, {each['draws']} draws": (
            {key: each[key] for key in ("core_ms", "p50_ms", "p99_ms")}
        )
        for each in found["points"]
    }
    labels = {"core_ms": "processor ms", "p50_ms": "alone, p50 ms", "p99_ms": "p99 ms"}
    flipped = {
        label: {kind: values[key] for kind, values in kinds.items()}
        for key, label in labels.items()
    }
    return markdown({kind: kind for kind in kinds}, flipped)


def dollars(amount: float | None) -> str | None:
    """To three digits that say something, without an exponent."""
    if amount is None:
        return None
    return f"{amount:.10f}"[: _places(amount)].rstrip("0").rstrip(".") or "0"


def _places(amount: float) -> int:
    text = f"{amount:.10f}"
    first = next((place for place, digit in enumerate(text) if digit in "123456789"), len(text))
    return max(first + 3, text.index(".") + 3)


def percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"
