"""The tables of docs/gpu.md, from what `benchmarks.gpu` measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.report.figures import cell, kept, markdown

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
