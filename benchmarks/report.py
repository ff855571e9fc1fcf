"""Write the tables of docs/ from the figures kept in docs/figures.

    python -m benchmarks.report            after a benchmark's last line was kept there
    python -m benchmarks.report --check    fails where a table is not what its figures say

A page has markers, `<!-- fidelity adult -->`, `<!-- student -->`, `<!-- pool credit -->` or
`<!-- regularisation -->`, each followed by its table and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.tables import ROOT

DOCS = ROOT / "docs"
FIDELITY = {
    "shape_err_pct": "Shape, error %",
    "trend_err_pct": "Trend, error %",
    "trend_all_err_pct": "Trend over all pairs, error %",
    "xgb_auc": "XGBoost detector, AUC",
    "xgb_c2st": "its C2ST",
    "xgb_auc_heldout": "against held-out rows, AUC",
    "xgb_c2st_heldout": "its C2ST",
    "lr_c2st": "logistic detector, C2ST",
    "mle_auc": "train on synthetic, AUC on real test",
    "dcr_share": "closer to a train than a test row, share",
    "train_seconds": "training, s",
}
STUDENT = {
    "columns": "columns",
    "slots": "token slots",
    "p50_us_all": "one row, every column, p50 µs",
    "p99_us_all": "p99 µs",
    "p50_us_three": "one row, three columns, p50 µs",
    "p99_us_three": "p99 µs",
    "rows_per_s_1024": "rows/s in batches of 1,024",
    "teacher_rows_per_s_1024": "the teacher's",
}
REGULARISATION = {"train": "rows seen", "test": "rows held out"}
POOL = {
    "hit_rate": "share answered from the pool",
    "server_us": "server time of those answers, p50 µs",
    "whole_us": "of whole rows, p50 µs",
    "p50_ms": "every answer, from call to answer, p50 ms",
    "p99_ms": "p99 ms",
    "c2st": "XGBoost detector against real rows, C2ST",
}
LATENCY = {
    "p50_ms": "one call at a time, p50 ms",
    "p99_ms": "p99 ms",
    "calls_per_s": "calls/s, 16 in flight",
}
TRITON = {
    "p50_ms": "one call at a time, p50 ms",
    "calls_per_s": "calls/s, 16 in flight",
    "rows_per_s": "rows/s, 16 in flight, 16 rows a call",
}
OVERLOAD = {
    "offered_per_s": "offered, calls/s",
    "goodput_per_s": "answered in time, calls/s",
    "refused": "refused, share",
    "late": "late, share",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "teacher": "from the teacher, share",
}
GPU = {
    "student_1_p50_us": "student, one row, p50 µs",
    "student_1_p99_us": "p99 µs",
    "student_1_alone_us": "the network alone, µs",
    "student_batch_p50_us": "student, 4,096 rows, p50 µs",
    "student_batch_p99_us": "p99 µs",
    "student_batch_alone_us": "the network alone, µs",
    "student_rows_per_s": "its rows/s",
    "teacher_rows_per_s": "teacher, every pass, rows/s",
    "teacher_pass_alone_us": "one pass of 4,096 rows alone, µs",
    "student_equal_pct": "student, rows equal to the CPU's, %",
    "teacher_equal_pct": "teacher, rows equal to the CPU's, %",
}
PRODUCTS = ("fp32", "tf32", "fp16", "bf16")
BLOCK = re.compile(
    r"<!-- (fidelity|student|pool|regularisation|latency|triton|overload|gpu)(?: ([\w-]+))? -->\n"
    r".*?<!-- end -->",
    re.DOTALL,
)


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


def table_of(kind: str, name: str, folder: Path) -> str:
    """The table that belongs after a marker."""
    if kind == "fidelity":
        tiers = {tier: kept(folder, f"fidelity-{name}-{tier}") for tier in ("teacher", "student")}
        columns = {tier: figures for tier, figures in tiers.items() if figures is not None}
        floors = [figures["floor"] for figures in columns.values()]
        return markdown(FIDELITY, {**columns, **({"floor": floors[0]} if floors else {})})
    if kind == "regularisation":
        losses = kept(folder, "regularisation-credit") or {}
        return markdown(REGULARISATION, {k: v for k, v in losses.items() if isinstance(v, dict)})
    if kind == "latency":
        figures = kept(folder, f"latency-{name}") or {}
        parts = {
            peer: {key: figures.get(f"{peer}_{key}") for key in LATENCY}
            for peer in ("cascade", "echo")
        }
        ratios = {
            "p50_ms": figures.get("p50_ratio"),
            "p99_ms": figures.get("p99_ratio"),
            "calls_per_s": figures.get("throughput_ratio"),
        }
        return markdown(LATENCY, {**parts, "ratio": ratios})
    if kind == "triton":
        figures = kept(folder, f"triton-{name}") or {}
        ours = {key: figures.get(key) for key in TRITON}
        theirs = {key: figures.get(f"triton_{key}") for key in TRITON}
        ratios = {
            "p50_ms": figures.get("p50_ratio_1"),
            "calls_per_s": figures.get("throughput_ratio_16"),
            "rows_per_s": figures.get("rows_ratio_16"),
        }
        return markdown(TRITON, {"cascade": ours, "triton": theirs, "ratio": ratios})
    if kind == "gpu":
        return gpu_table(name, folder)
    if kind == "overload":
        figures = kept(folder, "overload-credit") or {}
        return markdown(OVERLOAD, {f"{each['load']:g} ×": each for each in figures.get(name, [])})
    if kind == "pool":
        figures = kept(folder, f"pool-{name}") or {}
        sides = {
            "with the pool": {
                "hit_rate": figures.get("hit_rate"),
                "server_us": figures.get("pooled_server_us"),
                "whole_us": figures.get("whole_pooled_server_us"),
                "p50_ms": figures.get("with_pool_p50_ms"),
                "p99_ms": figures.get("with_pool_p99_ms"),
                "c2st": figures.get("pooled_c2st"),
            },
            "drawn": {
                "server_us": figures.get("student_server_us"),
                "whole_us": figures.get("whole_student_server_us"),
                "p50_ms": figures.get("without_pool_p50_ms"),
                "p99_ms": figures.get("without_pool_p99_ms"),
                "c2st": figures.get("teacher_c2st"),
            },
        }
        return markdown(POOL, sides)
    every = {path.stem.partition("-")[2]: path for path in sorted(folder.glob("student-*.json"))}
    return markdown(STUDENT, {name: json.loads(path.read_text()) for name, path in every.items()})


def gpu_table(name: str, folder: Path) -> str:
    """Ways of a prefix, "torch" or "cuda"; the "floors"; or what "server" measured."""
    figures = kept(folder, "gpu-credit") or {}
    ways: dict[str, dict[str, Any]] = figures.get("ways", {})
    if name == "floors":
        return gpu_floors(figures)
    if name == "server":
        server = ways.get("server", {})
        labels = {
            "generate_rows_per_s": "Generate, the teacher's rows/s",
            "student_p50_us": "one row of the student, call to answer, p50 µs",
            "student_p99_us": "p99 µs",
        }
        columns = {
            runtime: {key: server.get(f"server_{runtime}_{key}") for key in labels}
            for runtime in ("cpu", "cuda")
        }
        return markdown(labels, columns)
    if name == "idle":
        ours = ways.get("cuda:fp32", {})
        labels = {
            "first_after_idle_us": "nothing",
            "first_after_ticked_us": "a tick every quarter of a second",
            "student_1_p50_us": "no pause",
        }
        return markdown(labels, {"µs": ours})
    if name == "card":
        labels = {
            "copy_gb_s": "copy on the device, read and written, GB/s",
            **{f"{p}_tflop_s": f"{p} matrix product, TFLOP/s" for p in PRODUCTS},
        }
        return markdown(labels, {str(figures.get("card")): figures})
    columns = {}
    for way, found in ways.items():
        if way.startswith(name) or (name == "torch" and way == "cpu"):
            shares = {
                f"{key}_pct": f"{100 * found[key]:.3f}"
                for key in ("student_equal", "teacher_equal")
                if key in found
            }
            columns[way] = {**found, **shares}
    return markdown(GPU, columns)


def gpu_floors(figures: Mapping[str, Any]) -> str:
    """The least time of each network: its operations and its bytes over what the card does."""
    work, batch = figures["work"], figures["batch"]
    flops, copied = figures["fp32_tflop_s"] * 1e6, figures["copy_gb_s"] * 1e3  # a µs
    rows = {
        "student, one row": (
            work["student_flop"],
            work["student_row_bytes"] + work["student_weight_bytes"],
            "student_1_alone_us",
        ),
        f"student, {batch:,} rows": (
            batch * work["student_flop"],
            batch * work["student_row_bytes"] + work["student_weight_bytes"],
            "student_batch_alone_us",
        ),
        f"teacher, a pass of {batch:,} rows": (
            batch * work["teacher_flop"] / work["passes"],
            batch * work["teacher_row_bytes"] / work["passes"] + work["teacher_pass_weight_bytes"],
            "teacher_pass_alone_us",
        ),
    }
    lines = [
        "|  | arithmetic, µs | memory, µs | cuda:fp32, µs | best measured, µs | times its floor |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label, (operations, size, key) in rows.items():
        arithmetic, memory = operations / flops, size / copied
        ours = figures["ways"]["cuda:fp32"][key]
        # Of what computes in float32, as the floor does.
        exact = [w for w in figures["ways"] if w.startswith("torch") or w == "cuda:fp32"]
        best = min(figures["ways"][way][key] for way in exact)
        times = best / max(arithmetic, memory)
        cells = (arithmetic, memory, ours, best, times)
        lines.append(f"| {label} | " + " | ".join(cell(each) for each in cells) + " |")
    return "\n".join(lines)


def filled(page: str, folder: Path) -> str:
    """A page with its tables made anew."""

    def table(match: re.Match[str]) -> str:
        kind, name = match[1], match[2] or ""
        marker = f"<!-- {kind}{' ' * bool(name)}{name} -->"
        return f"{marker}\n\n{table_of(kind, name, folder)}\n\n<!-- end -->"

    return BLOCK.sub(table, page)


def main() -> None:
    """Write every page, or say which are not up to date."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if a page would")
    options = parser.parse_args()
    stale = []
    for path in sorted(DOCS.glob("**/*.md")):
        page = path.read_text()
        new = filled(page, DOCS / "figures")
        if new != page:
            stale.append(path)
            if not options.check:
                path.write_text(new)
                print(f"wrote {path.relative_to(ROOT)}")
    if options.check and stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        sys.exit(f"{names}: not what docs/figures says; run: python -m benchmarks.report")


if __name__ == "__main__":
    main()
