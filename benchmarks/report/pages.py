"""The pages of docs/, their markers, and the table that belongs after each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.report.attacks import attacks_table
from benchmarks.report.costs import costs_table, sizing_table
from benchmarks.report.faults import faults_table
from benchmarks.report.figures import kept, markdown
from benchmarks.report.glance import glance_table
from benchmarks.report.gpu import gpu_table
from benchmarks.report.jobs import jobs_table
from benchmarks.report.sizes import sizes_table
from benchmarks.report.telemetry import telemetry_table
from benchmarks.report.utility import utility_table
from benchmarks.tables import ROOT

DOCS = ROOT / "docs"
NOT_MEASURED = "(no figures are kept of this)"
# Of figures of servers that do not say which; they are from before it was the default one.
FORMER = (
    "*Kept before the default server was measured by itself: without a pool, and with the servers "
    "that are compared up at once. `make load-figures` replaces them.*"
)
FIDELITY = {
    "shape_err_pct": "Shape, error %",
    "trend_err_pct": "Trend, error %",
    "trend_all_err_pct": "Trend over all pairs, error %",
    "xgb_auc": "XGBoost detector, AUC",
    "xgb_c2st": "its C2ST",
    "relational_c2st": "given differences of numbers too, C2ST",
    "xgb_auc_heldout": "against held-out rows, AUC",
    "xgb_c2st_heldout": "its C2ST",
    "lr_c2st": "logistic detector, C2ST",
    "mle_auc": "train on synthetic, AUC on real test",
    "dcr_share": "closer to a train than a test row, share",
    "nearest_equality": "cells equal to the closest train row's, share",
    "train_seconds": "training, s",
}
STUDENT = {
    "columns": "columns",
    "slots": "token slots",
    "p50_us_all": "one row, every column, p50 µs",
    "p99_us_all": "p99 µs",
    "p50_us_three": "one row, three columns, p50 µs",
    "p99_us_three": "p99 µs",
    "p50_us_32_draws_ratio": "32 draws of one row, three columns, to one draw",
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
    "p99_ms": "p99 ms",
    "calls_per_s": "calls/s, 16 in flight",
    "p99_ms_16": "p99 ms",
    "stream_calls_per_s": "requests/s, 16 in flight on 4 streams",
    "rows_per_s": "rows/s, 16 in flight, 16 rows a call",
}
CALL = {
    "p50": "one call at a time, p50 µs",
    "cpu_us": "CPU time of a call, 16 in flight, µs",
}
OURS = {
    "bare_p50": "the transport with nothing behind it: kernel, HTTP/2, the load generator",
    "behind": "what is behind it, in place",
    "cascade_run": "of that, the run of the student",
    "warm_read": "warm: reading the message",
    "warm_encode": "checking and encoding its values",
    "warm_route": "predicting and choosing a tier",
    "warm_noise": "random numbers",
    "warm_run": "the run of the student",
    "warm_decode": "decoding, and where the answer comes from",
    "warm_write": "writing the message",
    "warm_count": "counting it against the objectives",
}
TRITONS = {
    "triton_outside": "before and after what it counts: kernel, gRPC, the load generator",
    "triton_queue": "queue",
    "triton_input": "input, to the model's process",
    "triton_infer": "execution: Python, random numbers, the run of the student",
    "triton_output": "output",
}
INSIDE = {
    "calls_per_s": "calls/s, 16 in flight",
    "batch": "rows a batch",
    "p99_ms_16": "p99 ms, 16 in flight",
    "slowest_ms_16": "the slowest call, ms",
    "p50_ms": "one call at a time, p50 ms",
    "ratio": "calls/s to the bare student's in the same run",
}
INSIDE_RATIOS = {
    "own_student": "inside_student_throughput_ratio",
    "row": "inside_throughput_ratio",
    "columns": "inside_columns_throughput_ratio",
}
OVERLOAD = {
    "offered_per_s": "offered, calls/s",
    "goodput_per_s": "answered in time, calls/s",
    "refused": "refused, share",
    "late": "late, share",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "teacher": "from the teacher, share",
    "speed": "the cores' speed, of the usual",
}
IN_FLIGHT = {
    "offered_per_s": "offered, calls/s",
    "in_flight": "in flight",
    "p99_ms": "p99 ms",
    "refused": "refused, share",
}
KINDS = (
    "fidelity|student|pool|regularisation|latency|triton-inside|triton|call|overload|in_flight|"
    "reload|processes|gpu|relations|utility|jobs|faults|costs|sizing|glance|"
    "attacks|telemetry|sizes"
)
PROCESSES = {
    "p50_ms": "one call at a time, p50 ms",
    "p99_ms": "p99 ms",
    "flood_rows_per_s": "the flood's rows/s",
}
RELOAD = {
    "p99_ms": "p99 ms",
    "failed": "calls that failed",
    "mib": "memory of all processes, MiB",
    "reload_s": "a reload, s",
}
RELATIONS = {
    "real": "learnt from",
    "held_out": "held out",
    "teacher": "teacher",
    "teacher_given": "a third given",
    "student": "student",
    "student_given": "a third given ",
}
# Relations of fewer rows are not shown, in per cent.
SHOWN_SHARE = 3
BLOCK = re.compile(
    rf"<!-- ({KINDS})(?: ([\w-]+))? -->\n"
    r".*?<!-- end -->",
    re.DOTALL,
)


def table_of(kind: str, name: str, folder: Path) -> str:
    """The table that belongs after a marker."""
    if kind == "fidelity":
        tiers = {tier: kept(folder, f"fidelity-{name}-{tier}") for tier in ("teacher", "student")}
        columns = {tier: figures for tier, figures in tiers.items() if figures is not None}
        floors = [figures["floor"] for figures in columns.values()]
        return markdown(FIDELITY, {**columns, **({"floor": floors[0]} if floors else {})})
    if kind == "relations":
        return relations_table((kept(folder, "relations") or {}).get("tables", {}).get(name))
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
            "p99_ms": figures.get("p99_ratio_1"),
            "calls_per_s": figures.get("throughput_ratio_16"),
            "p99_ms_16": figures.get("p99_ratio_16"),
            "stream_calls_per_s": figures.get("stream_throughput_ratio_16"),
            "rows_per_s": figures.get("rows_ratio_16"),
        }
        return markdown(TRITON, {"cascade": ours, "triton": theirs, "ratio": ratios})
    if kind == "call":
        return taken_apart(kept(folder, "call-credit") or {}, name)
    if kind == "triton-inside":
        figures = kept(folder, f"triton-inside-{name}") or {}
        models = {
            "student": "the bare student",
            "own_student": f"{name}_student",
            "row": f"{name}, `row`",
            "columns": f"{name}, a tensor a column",
        }
        others = {
            "called": f"{name}, `row`, student called",
            "priorities": f"{name}, `row`, priorities",
        }
        parts = {
            title: {
                **{key: figures.get(f"{model}_{key}") for key in INSIDE},
                "ratio": figures.get(INSIDE_RATIOS.get(model, "")),
            }
            for model, title in models.items()
        }
        for variant, title in others.items():
            other = kept(folder, f"triton-inside-{name}-{variant}") or {}
            parts[title] = {
                **{key: other.get(f"row_{key}") for key in INSIDE},
                "ratio": other.get(INSIDE_RATIOS["row"]),
            }
        return markdown(INSIDE, parts)
    if kind == "utility":
        return utility_table(name, folder) or NOT_MEASURED
    if kind == "jobs":
        return jobs_table(name, folder)
    if kind == "attacks":
        return attacks_table(folder)
    if kind == "sizes":
        return sizes_table(folder) or NOT_MEASURED
    if kind == "telemetry":
        return telemetry_table(name, folder) or NOT_MEASURED
    if kind == "faults":
        return faults_table(name, folder) or NOT_MEASURED
    if kind == "glance":
        return glance_table(folder)
    if kind == "costs":
        return costs_table(name, folder) or NOT_MEASURED
    if kind == "sizing":
        return sizing_table(name)
    if kind == "gpu":
        return gpu_table(name, folder)
    if kind == "overload":
        figures = kept(folder, "overload-credit") or {}
        loads = {f"{each['load']:g} ×": each for each in figures.get(name, [])}
        return markdown(OVERLOAD, loads) if loads else NOT_MEASURED
    if kind == "in_flight":
        figures = kept(folder, "in-flight-credit") or {}
        loads = {f"{each['load']:g} ×": each for each in figures.get(name, [])}
        return markdown(IN_FLIGHT, loads)
    if kind == "processes":
        figures = kept(folder, "processes-credit") or {}
        sides = {
            "in the process that answers": "in_process",
            "in its own": "own_process",
        }
        return markdown(
            PROCESSES,
            {
                side: {key: figures.get(f"{prefix}_{key}") for key in PROCESSES}
                for side, prefix in sides.items()
            },
        )
    if kind == "reload":
        figures = kept(folder, f"reload-{name}") or {}
        sides = {
            "without": {"p99_ms": "p99_without_ms", "mib": "rss_before_mib"},
            "with": {
                "p99_ms": "p99_with_ms",
                "failed": "failed_requests",
                "mib": "rss_after_mib",
                "reload_s": "reload_s",
            },
            "ratio": {"p99_ms": "p99_ratio", "mib": "rss_growth_ratio"},
        }
        columns = {
            side: {label: figures.get(key) for label, key in keys.items()}
            for side, keys in sides.items()
        }
        return markdown(RELOAD, columns)
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


def relations_table(table: Mapping[str, Any] | None) -> str:
    """A table of `benchmarks.relations`: per cent of the rows in which each relation holds."""
    if table is None:
        return NOT_MEASURED
    shares = table["relations"]
    shown = [formula for formula in shares if 100 * shares[formula]["real"] >= SHOWN_SHARE]
    sources = [key for key in RELATIONS if any(key in shares[formula] for formula in shown)]
    columns = {
        RELATIONS[key]: {formula: 100.0 * shares[formula][key] for formula in shown}
        for key in sources
    }
    return markdown({formula: f"`{formula}`, %" for formula in shown}, columns)


def taken_apart(figures: Mapping[str, Any], what: str) -> str:
    """A table of `benchmarks.call`: of all servers, or where one's microseconds go."""
    if not figures:
        return ""
    if what == "servers":
        sides = {"cascade": "cascade", "the bare transport": "bare", "triton": "triton"}
        columns = {
            label: {
                "p50": figures[f"{side}_p50"],
                "cpu_us": 1e3 * figures[f"{side}_cpu_ms"],
            }
            for label, side in sides.items()
        }
        return markdown(CALL, columns)
    more = {
        **figures,
        "behind": figures["cascade_p50"] - figures["bare_p50"],
        "triton_outside": figures["triton_p50"] - figures["triton_request"],
    }
    return markdown(OURS if what == "ours" else TRITONS, {"µs": more})


def former(kind: str, name: str, folder: Path) -> bool:
    """Whether the figures of a table are from before servers were measured as they ship."""
    files = {
        "latency": f"latency-{name}",
        "triton": f"triton-{name}",
        "call": "call-credit",
        "overload": "overload-credit",
        "in_flight": "in-flight-credit",
        "processes": "processes-credit",
        "reload": f"reload-{name}",
    }
    figures = kept(folder, files[kind]) if kind in files else None
    return figures is not None and "server" not in figures


def filled(page: str, folder: Path) -> str:
    """A page with its tables made anew."""

    def block(match: re.Match[str]) -> str:
        kind, name = match[1], match[2] or ""
        marker = f"<!-- {kind}{' ' * bool(name)}{name} -->"
        table = table_of(kind, name, folder)
        note = f"{FORMER}\n\n" if former(kind, name, folder) and table != NOT_MEASURED else ""
        return f"{marker}\n\n{note}{table}\n\n<!-- end -->"

    return BLOCK.sub(block, page)
