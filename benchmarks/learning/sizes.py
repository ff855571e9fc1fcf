"""How time and memory grow with a table's rows and columns.

    python -m benchmarks.sizes
    python -m benchmarks.sizes --tables 10000000x20 --parts fit

Makes tables of numbers, dates and categories that depend on each other, writes each to a temporary
folder some rows at a time, and runs the commands themselves, each in a process of its own, with few
steps and few teacher rows, since what is asked is how each grows. Nothing is extrapolated. The last
line is one JSON object: "steps", "teacher_rows" and "samples", which each command was given, and
under "tables", by rows and columns, of each command its seconds and the peak memory of its process;
of fit also read_seconds (reading, deciding and encoding) and seconds_a_step, as `fit --minutes`
times it; of distill rows_per_s of the teacher and seconds_a_step of the student, looks and exports
included. A size at which a command fails keeps what was measured before that, and stands with the
reason under "failed"; the others are measured all the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

TABLES = ("1000x20", "30000x20", "1000000x20", "10000000x20", "30000x300")
PARTS = ("fit", "distill", "evaluate")
# Cells that are made together.
CHUNK_CELLS = 2_000_000
SEED = 20_261
KINDS = np.array([f"kind {number}" for number in range(30)], object)
ANSWERS = np.array(["no", "yes"], object)


def chunk(rows: int, columns: int, number: int) -> pa.Table:
    """Some rows of a table: of five columns each, two are real, and one has NULLs."""
    rng = np.random.default_rng([SEED, number])
    common = rng.normal(size=rows)
    made: dict[str, Any] = {}
    for column in range(columns):
        own = rng.normal(size=rows)
        match column % 5:
            case 0:
                made[f"amount_{column}"] = np.round(np.exp(0.5 * common + own + 3), 2)
            case 1:
                made[f"count_{column}"] = rng.poisson(np.exp(0.3 * common + 2))
            case 2:
                made[f"kind_{column}"] = KINDS[np.minimum(rng.geometric(0.2, rows), 30) - 1]
            case 3:
                made[f"real_{column}"] = common + own
            case _:
                answers = ANSWERS[(common + own > 0).astype(int)]
                made[f"answer_{column}"] = np.where(rng.random(rows) < 0.1, None, answers)
    return pa.table(made)


def write(path: Path, rows: int, columns: int) -> None:
    """The same table for the same size, never whole in memory."""
    step = max(1, CHUNK_CELLS // columns)
    parts = [(min(step, rows - begin), number) for number, begin in enumerate(range(0, rows, step))]
    # Of rows enough that no column of them is nothing but NULL, of which no type follows.
    schema = chunk(100, columns, 0).schema
    open_writer = pq.ParquetWriter if path.suffix == ".parquet" else pyarrow.csv.CSVWriter
    with open_writer(path, schema) as writer:
        for count, number in parts:
            writer.write_table(chunk(count, columns, number).cast(schema))


def measured(command: str, *options: str) -> dict[str, float]:
    """Run `cascade` and wait for it: its seconds, and the most memory that it had.

    Raises:
        CalledProcessError: it failed; what it said is among what was printed.
    """
    program = "from cascade_cli.program import main; main()"
    arguments = [sys.executable, "-c", program, command, *options]
    print(f"$ cascade {command} {' '.join(options)}", file=sys.stderr, flush=True)
    began = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=sys.stderr)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return {"seconds": round(seconds, 1), "peak_mib": round(used.ru_maxrss / 1024)}


def measure_size(
    folder: Path,
    rows: int,
    columns: int,
    given: argparse.Namespace,
    out: dict[str, dict[str, float]],
) -> None:
    """Put into `out`, by command, what each takes for a table of this size, as soon as it is known.

    Raises:
        CalledProcessError: a command failed; what those before it took is in `out`.
    """
    path, run = folder / f"table.{given.format}", folder / "run"
    write(path, rows, columns)
    parts: Sequence[str] = given.parts
    steps, threads = ["--steps", str(given.steps)], ["--threads", str(given.threads)]

    def about() -> dict[str, Any]:
        return dict(json.loads((run / "run.json").read_text()))

    if "fit" in parts:
        # More minutes than it takes, so that a step is timed.
        options = ["--out", str(run), *steps, "--minutes", "1000", *threads]
        out["fit"] = measured("fit", str(path), *options)
        found = about()
        out["fit"] |= {
            "read_seconds": found["read"]["seconds"],
            "seconds_a_step": round(found["bound"]["seconds_a_step"], 4),
        }
    if "distill" in parts:
        options = [*steps, "--rows", str(given.teacher_rows), *threads]
        out["distill"] = measured("distill", str(run), *options)
        seconds = about()["seconds"]
        out["distill"] |= {
            "rows_per_s": round(given.teacher_rows / max(0.1, seconds["teacher_rows"]), 1),
            "seconds_a_step": round(seconds["student"] / given.steps, 4),
        }
    if "evaluate" in parts:
        options = ["--train", str(path), "--samples", str(given.samples), *threads]
        out["evaluate"] = measured("evaluate", str(run), *options)


def size_of(text: str) -> tuple[int, int]:
    """Rows and columns of "30000x300".

    Raises:
        ArgumentTypeError: it is no such text.
    """
    rows, _, columns = text.partition("x")
    if not (rows.isdecimal() and columns.isdecimal()) or int(rows) < 200 or int(columns) < 2:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size of a table; allowed: rows and columns, such as 30000x20, of at "
            "least 200 rows and 2 columns"
        )
    return int(rows), int(columns)


def main() -> None:
    """Measure each size by itself, and print what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sizes", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--tables", type=size_of, nargs="+", default=list(map(size_of, TABLES)))
    parser.add_argument("--parts", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--teacher-rows", type=int, default=2_000)
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the tables are written to")
    given = parser.parse_args()
    if "fit" not in given.parts:
        parser.error("--parts without fit: the others start from what it learns")
    if "evaluate" in given.parts and "distill" not in given.parts:
        parser.error("--parts with evaluate needs distill too")
    tables: dict[str, dict[str, dict[str, float]]] = {}
    failed: dict[str, str] = {}
    for rows, columns in given.tables:
        size = f"{rows}x{columns}"
        found = tables[size] = {}
        with tempfile.TemporaryDirectory(dir=given.folder, prefix="cascade-sizes-") as folder:
            try:
                measure_size(Path(folder), rows, columns, given, found)
            except subprocess.CalledProcessError as exc:
                # Hours of other sizes are not lost for it.
                failed[size] = f"{exc.cmd[3]} ended with status {exc.returncode}"
                print(f"{size}: {failed[size]}", file=sys.stderr, flush=True)
        print(f"{rows:,} rows of {columns:,} columns: {found}", file=sys.stderr, flush=True)
    said = {"steps": given.steps, "teacher_rows": given.teacher_rows, "samples": given.samples}
    print(json.dumps({**said, "format": given.format, "tables": tables, "failed": failed}))


if __name__ == "__main__":
    main()
