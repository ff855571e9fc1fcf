"""How close a tier's rows are to real ones, each figure beside its noise floor.

    python -m benchmarks.fidelity --table adult --tier teacher
    python -m benchmarks.fidelity --csv a.csv --schema a.yaml --target fraud --tier student

Learns the table in runs/NAME (resuming what is there) unless model_repository has a release of it
that was learnt from the same rows. The last line is one JSON object: shape_err_pct, trend_err_pct,
xgb_auc, xgb_c2st, xgb_auc_heldout, xgb_c2st_heldout, relational_c2st, lr_c2st, mle_auc, dcr_share,
train_seconds, and the same keys under "floor"; see `cascade_distill.fidelity.evaluation` for what
each is.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from cascade_distill import recipes
from cascade_distill.fidelity.evaluation import cached_floor, evaluate
from cascade_distill.learning.rows import has_bfloat16, learnt_size, prepare
from cascade_distill.learning.student import distill_student
from cascade_distill.learning.teacher import fit_teacher
from cascade_distill.learning.teacher_rows import draw_teacher_rows
from cascade_distill.measure import draw_samples
from cascade_distill.runs.run import Run
from cascade_distill.runtime import StudentSampler, TeacherSampler
from cascade_distill.training.progress import bar
from cascade_tables import (
    CascadeTablesError,
    Codec,
    infer_schema,
    list_releases,
    load_release,
)
from rich.console import Console

from benchmarks.tables import (
    BUNDLED,
    ELSEWHERE,
    ROOT,
    BenchmarkTable,
    TableMissing,
    from_file,
    named,
)

REPOSITORY = ROOT / "model_repository"
console = Console(stderr=True)


@dataclass(frozen=True)
class Learnt:
    """A tier ready to draw."""

    codec: Codec
    model: bytes
    train_seconds: float


def released(table: BenchmarkTable, tier: str) -> Learnt | None:
    """From the table's latest release, if it fits the table's schema."""
    versions = list_releases(REPOSITORY).get(table.name) if REPOSITORY.is_dir() else None
    if not versions:
        return None
    release = load_release(REPOSITORY, table.name, versions[-1])
    schema = infer_schema(table.train, table.overrides, rule=table.rule)
    # Relations are found by `cascade fit`, and do not change how a column is encoded.
    if replace(release.codec.schema, relations=()) != schema:
        return None
    console.print(f"{table.name} version {versions[-1]} from {REPOSITORY.name}")
    seconds = release.manifest.training.get("seconds", {})
    model = release.student if tier == "student" else release.teacher
    return Learnt(release.codec, model, spent(seconds, tier))


def spent(seconds: dict[str, float], tier: str) -> float:
    """Seconds of training that a tier took; the student's include its teacher's."""
    parts = ["teacher"] if tier == "teacher" else ["teacher", "teacher_rows", "lessons", "student"]
    return round(sum(seconds.get(part, 0.0) for part in parts), 1)


def learn(
    table: BenchmarkTable,
    tier: str,
    folder: Path,
    threads: int,
    steps: int | None = None,
    rows: int | None = None,
) -> Learnt:
    """Train what the tier needs, resuming what the folder has; by the recipes unless told."""
    run = Run(folder / table.name)
    schema = infer_schema(table.train, table.overrides, rule=table.rule)
    console.print(schema.describe(), markup=False, highlight=False, soft_wrap=True)
    prepare(run, schema, table.train, source=table.name)
    size = learnt_size(run)
    bfloat16 = has_bfloat16(run)
    teacher = recipes.teacher_recipe(*size, bfloat16=bfloat16)
    recipe = recipes.student_recipe(*size, bfloat16=bfloat16)
    if steps is not None:
        teacher = replace(teacher, train=recipes.with_steps(teacher.train, steps))
        recipe = replace(recipe, train=recipes.with_steps(recipe.train, steps))
    recipe = replace(recipe, rows=rows or recipe.rows)
    with bar("teacher", "steps", console) as progress:
        fit_teacher(run, teacher, progress, progress.settling)
    if tier == "student":
        with bar("teacher rows", "rows", console) as progress:
            draw_teacher_rows(run, recipe.rows, 0, threads, progress.rows)
        with bar("student", "steps", console) as progress:
            distill_student(run, recipe, progress, progress.settling)
    seconds = run.read_json("run.json")["seconds"]
    return Learnt(run.codec(), run.path(f"{tier}.onnx").read_bytes(), spent(seconds, tier))


def measure(
    table: BenchmarkTable,
    tier: str,
    learnt: Learnt,
    samples: int,
    threads: int,
    passes: int | None = None,
) -> dict[str, Any]:
    """Draw, compare and collect the figures that the last line prints."""
    layout = learnt.codec.layout
    sampler: StudentSampler | TeacherSampler
    if tier == "student":
        sampler = StudentSampler(learnt.model, layout, threads)
    else:
        sampler = TeacherSampler(learnt.model, layout, threads, passes)
    drawn = draw_samples(sampler, learnt.codec, len(table.train), samples)
    train, test = table.train.to_pandas(), table.test.to_pandas()
    schema = learnt.codec.schema
    figures = evaluate(train, test, drawn, schema, table.target, threads).rounded()
    floor = cached_floor(train, test, schema, table.target, threads).rounded()
    return {
        "table": table.name,
        "tier": tier,
        **figures,
        "train_seconds": learnt.train_seconds,
        "floor": floor,
    }


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fidelity", description=(__doc__ or "").partition("\n")[0]
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--table", help=", ".join([*BUNDLED, *ELSEWHERE]))
    which.add_argument("--csv", type=Path, help="any other table, CSV or Parquet")
    parser.add_argument("--schema", type=Path, help="schema overrides for --csv")
    parser.add_argument("--target", help="column to predict, for --csv")
    parser.add_argument("--tier", choices=["teacher", "student"], required=True)
    parser.add_argument("--steps", type=int, help="training steps, instead of the recipe's")
    parser.add_argument("--rows", type=int, help="teacher rows a student learns from, likewise")
    parser.add_argument("--passes", type=int, help="of the teacher; one a column by default")
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--retrain", action="store_true", help="do not use the release")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        if options.table is not None:
            table = named(options.table)
        else:
            table = from_file(options.csv, options.schema, options.target)
        learnt = None if options.retrain else released(table, options.tier)
        if learnt is None:
            learnt = learn(
                table, options.tier, options.runs, options.threads, options.steps, options.rows
            )
        result = measure(
            table, options.tier, learnt, options.samples, options.threads, options.passes
        )
    except (TableMissing, CascadeTablesError) as exc:
        sys.exit(f"error: {exc}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
