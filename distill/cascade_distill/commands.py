"""`cascade fit`, `distill`, `evaluate` and `release`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click
import torch
from cascade_tables import (
    CascadeTablesError,
    find_relations,
    infer_schema,
    load_overrides,
    load_relation_overrides,
    read_table,
    schema_file,
)
from cascade_tables.releases.triton_files import TritonRuntime
from rich.console import Console

from cascade_distill import pipeline
from cascade_distill.checkpoint import write_atomic
from cascade_distill.errors import DistillError
from cascade_distill.progress import bar
from cascade_distill.run import Run
from cascade_distill.tracking import Tracker

EXISTING = click.Path(exists=True, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


def _friendly(command: Callable[..., None]) -> Callable[..., None]:
    """Print this project's errors as one message, without a traceback; exit code 1."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (DistillError, CascadeTablesError) as exc:
            raise click.ClickException(str(exc)) from exc

    return run


def _threads(threads: int | None) -> int:
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


@click.command()
@click.argument("table", type=EXISTING)
@click.option("--out", type=FOLDER, help="Run folder; runs/TABLE by default.")
@click.option("--schema", "overrides", type=EXISTING, help="YAML or TOML with schema overrides.")
@click.option("--steps", type=click.IntRange(1), help="Training steps of 1,024 rows.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
@click.option("--dry-run", is_flag=True, help="Show the schema and stop.")
@_friendly
def fit(
    table: Path,
    out: Path | None,
    overrides: Path | None,
    steps: int | None,
    seed: int,
    threads: int | None,
    dry_run: bool,
) -> None:
    """Learn a teacher from TABLE, a CSV or Parquet file.

    Infers the schema, finds exact relations between numbers, shows both, encodes the rows and
    trains a masked diffusion on them. Ctrl-C saves; the same command resumes. What was decided is
    in the run folder's schema.yaml, which may be changed and given back with --schema.

    \b
    Example:
      cascade fit payments.csv --schema payments.yaml --out runs/payments
    """
    console = Console()
    frame = read_table(table)
    columns = load_overrides(overrides) if overrides else {}
    relations = load_relation_overrides(overrides) if overrides else ()
    schema = infer_schema(frame, columns)
    schema = replace(schema, relations=find_relations(frame, schema, relations))
    console.print(schema.describe(), markup=False, highlight=False, soft_wrap=True)
    if dry_run:
        return
    run = Run(out or Path("runs") / table.stem)
    _threads(threads)
    recipe = pipeline.TeacherRecipe()
    train = replace(recipe.train, seed=seed, steps=steps or recipe.train.steps)
    pipeline.prepare(run, schema, frame, source=table.name)
    text = schema_file(schema, table.name, columns, relations)
    write_atomic(run.path("schema.yaml"), text.encode())
    tracker = Tracker(run, "fit")
    recipe = replace(recipe, train=train)
    tracker.parameters(
        **asdict(recipe), table=table.name, rows=len(frame), schema=schema.fingerprint
    )
    with bar("teacher", "steps", console) as progress:
        pipeline.fit_teacher(run, recipe, tracker.losses(progress))
    tracker.artefact(run.path("codec.json"))
    tracker.done()
    console.print(f"schema in {run.path('schema.yaml')}, to change and to give with --schema")
    console.print(f"teacher in {run.folder}; next: cascade distill {run.folder}")


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--steps", type=click.IntRange(1), help="Training steps of 1,024 rows.")
@click.option("--rows", type=click.IntRange(1), help="Teacher rows to learn from.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
@_friendly
def distill(
    folder: Path, steps: int | None, rows: int | None, seed: int, threads: int | None
) -> None:
    """Distil a student from the teacher in run folder FOLDER.

    The student sees nothing but rows that the teacher made. Ctrl-C saves; the same command resumes.

    \b
    Example:
      cascade distill runs/payments
    """
    console = Console()
    run = Run(folder)
    workers = _threads(threads)
    recipe = pipeline.StudentRecipe()
    train = replace(recipe.train, seed=seed, steps=steps or recipe.train.steps)
    recipe = replace(recipe, train=train, rows=rows or recipe.rows)
    tracker = Tracker(run, "distill")
    tracker.parameters(**asdict(recipe))
    with bar("teacher rows", "rows", console) as progress:
        pipeline.draw_teacher_rows(run, recipe.rows, seed, workers, progress.rows)
    with bar("student", "steps", console) as progress:
        pipeline.distill_student(run, recipe, tracker.losses(progress))
    tracker.done()
    console.print(f"student in {run.folder}; next: cascade release {run.folder}")


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--train", "train_file", type=EXISTING, required=True, help="The table learnt from.")
@click.option("--test", "test_file", type=EXISTING, required=True, help="Real rows held out.")
@click.option("--target", help="Column to predict for mle_auc.")
@click.option("--samples", type=click.IntRange(1), default=3, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
@_friendly
def evaluate(
    folder: Path,
    train_file: Path,
    test_file: Path,
    target: str | None,
    samples: int,
    threads: int | None,
) -> None:
    """Measure how close the rows of run folder FOLDER's models are to real ones.

    Prints each figure for student and teacher beside its noise floor, real held-out rows in the
    place of synthetic ones, and keeps them for the release.

    \b
    Example:
      cascade evaluate runs/payments --train train.csv --test test.csv --target fraud
    """
    from cascade_distill.measure import measure_run, print_figures

    console = Console()
    run = Run(folder)
    tracker = Tracker(run, "evaluate")
    train, test = read_table(train_file), read_table(test_file)
    threads = _threads(threads)
    figures = measure_run(run, train, test, target, samples, threads, console.print)
    tracker.parameters(train=train_file.name, test=test_file.name, target=target, samples=samples)
    tracker.metrics(
        {f"{tier}.{name}": v for tier, found in figures.items() for name, v in found.items()}
    )
    tracker.artefact(run.path("fidelity.json"))
    tracker.done()
    print_figures(figures, console)


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--table", help="Name to serve it under; the folder's name by default.")
@click.option(
    "--repository",
    default="model_repository",
    show_default=True,
    metavar="FOLDER|URL",
    help="Model repository to write to; a URL is any that fsspec knows, such as s3://bucket/path.",
)
@click.option("--version", "number", type=click.IntRange(1), help="The next one by default.")
@click.option(
    "--runtime",
    type=click.Choice([each.value for each in TritonRuntime]),
    default=TritonRuntime.PYTHON.value,
    show_default=True,
    help="What runs the student where Triton serves the repository.",
)
@_friendly
def release(
    folder: Path, table: str | None, repository: str, number: int | None, runtime: str
) -> None:
    """Write the models of run folder FOLDER into a model repository.

    With them come the files that Triton needs; `cascade configure` writes those anew.

    \b
    Example:
      cascade release runs/payments --table payments
      cascade release runs/payments --runtime onnxruntime
      cascade release runs/payments --repository s3://bucket/models
    """
    from cascade_distill.releasing import release_run

    run = Run(folder)
    tracker = Tracker(run, "release")
    manifest = release_run(run, repository, table or run.name, number, TritonRuntime(runtime))
    tracker.parameters(repository=repository)
    tracker.released(manifest, json.dumps(asdict(manifest), indent=2) + "\n")
    tracker.done()
    Console().print(f"released {manifest.table} version {manifest.version} in {repository}")
