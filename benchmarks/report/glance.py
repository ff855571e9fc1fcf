"""What README says of figures: one line a question, ours beside whom it is compared with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report.figures import cell, kept


@dataclass(frozen=True)
class Line:
    """One question.

    Attributes:
        asks: the question, in a reader's words.
        file: of docs/figures, without its ending.
        ours, theirs: what is said, in which `{key}` is a figure of the file, and `{a.b}` one inside
            an object of it; "" where there is nobody to compare with.
        command: what measures it.
        theirs_file: of docs/figures, where what is beside it has a file of its own.
    """

    asks: str
    file: str
    ours: str
    theirs: str
    command: str
    theirs_file: str = ""


LINES = (
    Line(
        "one call, one row of credit, p50 / p99 ms",
        "triton-credit",
        "{p50_ms} / {p99_ms}",
        "Triton {triton_p50_ms} / {triton_p99_ms}",
        "benchmarks.triton --table credit",
    ),
    Line(
        "calls/s, 16 in flight, with `--workers 2`",
        "triton-credit",
        "{calls_per_s}",
        "Triton {triton_calls_per_s}",
        "benchmarks.triton --table credit",
    ),
    Line(
        "the same for the Open Inference Protocol's clients",
        "triton-credit",
        "{open_inference_calls_per_s}",
        "Triton {triton_calls_per_s}",
        "benchmarks.triton --table credit",
    ),
    Line(
        "three late features of credit drawn, p50 µs",
        "student-credit",
        "{p50_us_three}",
        "ONNX Runtime {onnxruntime_p50_us_three}",
        "benchmarks.student --table credit",
    ),
    Line(
        "at two and three times capacity, over 4 / 40 connections: share of the peak's goodput",
        "overload-credit",
        "{min_goodput_ratio} / {min_goodput_ratio_40}; where callers wait "
        "{min_goodput_ratio_waiting} / {min_goodput_ratio_waiting_40}",
        "",
        "benchmarks.overload --table credit",
    ),
    Line(
        "an offline job to Parquet, rows/s of adult",
        "jobs",
        "student {student_rows_per_s}, teacher {teacher_rows_per_s}; {peak_rss_mb} MB",
        "",
        "benchmarks.jobs",
    ),
    Line(
        "rows told from real ones by XGBoost, adult, C2ST (1: not at all), teacher",
        "fidelity-adult-teacher",
        "{xgb_c2st}",
        "real rows {floor.xgb_c2st}",
        "benchmarks.fidelity --table adult --tier teacher",
    ),
    Line(
        "the same, adult, student",
        "fidelity-adult-student",
        "{xgb_c2st}",
        "real rows {floor.xgb_c2st}",
        "benchmarks.fidelity --table adult --tier student",
    ),
    Line(
        "the same, credit, teacher",
        "fidelity-credit-teacher",
        "{xgb_c2st}",
        "real rows {floor.xgb_c2st}",
        "benchmarks.fidelity --table credit --tier teacher",
    ),
    Line(
        "the same, credit, student",
        "fidelity-credit-student",
        "{xgb_c2st}",
        "real rows {floor.xgb_c2st}",
        "benchmarks.fidelity --table credit --tier student",
    ),
    Line(
        "average precision with three features of credit late",
        "utility-credit",
        "{tables.credit.late.3.methods.student_32.average_precision}",
        "XGBoost's own handling {tables.credit.late.3.methods.xgboost.average_precision}",
        "benchmarks.utility --table credit",
    ),
    Line(
        "attacks on the transport: the slowest call of a caller beside them, ms",
        "attacks",
        "{worst_good_ms}",
        "grpcio's server {worst_good_ms}",
        "benchmarks.attacks --seconds 2",
        "attacks-grpcio",
    ),
)


def glance_table(folder: Path) -> str:
    """The lines whose figures are kept."""
    rows = [["", "Cascade", "beside it", "`python -m …`"], ["---", "---", "---", "---"]]
    for line in LINES:
        figures = kept(folder, line.file)
        if figures is not None:
            beside = kept(folder, line.theirs_file) if line.theirs_file else figures
            ours = _told(line.ours, figures)
            theirs = "" if beside is None else _told(line.theirs, beside)
            rows.append([line.asks, ours, theirs, f"`{line.command}`"])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _told(text: str, figures: Mapping[str, Any]) -> str:
    return re.sub(r"{([^}]+)}", lambda match: _figure(figures, match[1]), text)


def _figure(figures: Mapping[str, Any], path: str) -> str:
    """One figure of those that are kept; of a mean with its interval, the mean.

    Raises:
        KeyError: it is not among them.
    """
    value: Any = figures
    for key in path.split("."):
        value = value[key]
    return cell(value[0] if isinstance(value, list) else value)
