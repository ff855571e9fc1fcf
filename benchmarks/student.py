"""How fast a release's graphs run in ONNX Runtime on one thread, noise included.

    python -m benchmarks.student --table adult

The last line is one JSON object: p50_us_all (one row, every column to synthesise), p50_us_three
(one row, three columns drawn at random to synthesise), rows_per_s_1024 (batches of 1,024) and
teacher_rows_per_s_1024 (the same of the teacher, every pass it takes).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from cascade_distill.runtime import StudentSampler, TeacherSampler
from cascade_tables import TokenLayout, list_releases, load_release

from benchmarks.tables import ROOT

WARM, BATCH = 300, 1024
# The teacher takes as many passes as there are columns: of its batches there are fewer by this.
HEAVY = 10


def masks(layout: TokenLayout, missing: int, count: int, seed: int) -> list[np.ndarray]:
    """`count` masks of one row each, with `missing` random columns not observed."""
    rng = np.random.default_rng(seed)
    column = np.array(layout.column)
    columns = int(column.max()) + 1
    return [~np.isin(column, rng.permutation(columns)[:missing])[None] for _ in range(count)]


def one_row_us(sampler: StudentSampler, missing: int, calls: int) -> np.ndarray:
    """Microseconds of each of so many calls, after warm-up."""
    rng = np.random.default_rng(0)
    tokens = np.zeros((1, len(sampler.layout.sizes)), np.int32)
    seconds = []
    for observed in masks(sampler.layout, missing, WARM + calls, seed=1):
        began = time.perf_counter()
        sampler.complete(tokens, observed, rng)
        seconds.append(time.perf_counter() - began)
    return 1e6 * np.array(seconds[WARM:])


def rows_per_s(sampler: StudentSampler | TeacherSampler, batches: int) -> float:
    """Rows a second, every column to synthesise: the median of the batches."""
    rng = np.random.default_rng(0)
    shape = (BATCH, len(sampler.layout.sizes))
    tokens, observed = np.zeros(shape, np.int32), np.zeros(shape, bool)
    sampler.complete(tokens, observed, rng)
    seconds = []
    for _ in range(batches):
        began = time.perf_counter()
        sampler.complete(tokens, observed, rng)
        seconds.append(time.perf_counter() - began)
    return BATCH / float(np.median(seconds))


def main() -> None:
    """Measure the student's graph alone, and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.student", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--table", required=True)
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--calls", type=int, default=4000, help="of one row, each kind")
    parser.add_argument("--batches", type=int, default=30, help="of 1,024 rows")
    options = parser.parse_args()
    versions = list_releases(options.repository).get(options.table)
    if not versions:
        parser.error(f"{options.repository} has no release of {options.table!r}")
    release = load_release(options.repository, options.table, versions[-1])
    layout = release.codec.layout
    student = StudentSampler(release.student, layout)
    columns = len(release.codec.schema.columns)
    everything, three = (one_row_us(student, missing, options.calls) for missing in (columns, 3))
    result = {
        "table": options.table,
        "version": versions[-1],
        "columns": columns,
        "slots": len(layout.sizes),
        "p50_us_all": round(float(np.median(everything)), 1),
        "p99_us_all": round(float(np.quantile(everything, 0.99)), 1),
        "p50_us_three": round(float(np.median(three)), 1),
        "p99_us_three": round(float(np.quantile(three, 0.99)), 1),
        "rows_per_s_1024": round(rows_per_s(student, options.batches)),
        "teacher_rows_per_s_1024": round(
            rows_per_s(TeacherSampler(release.teacher, layout), max(1, options.batches // HEAVY))
        ),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
