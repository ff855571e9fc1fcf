"""`cascade fit`, `distill`, `evaluate` and `release`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click
import torch
from cascade_tables import CascadeTablesError, infer_schema, load_overrides
from cascade_tables.files.reading import read_by_schema, read_files
from cascade_tables.files.table import Table
from cascade_tables.infer import folded_shares
from cascade_tables.releases.triton_files import TritonRuntime
from rich.console import Console

from cascade_distill import pipeline
from cascade_distill.errors import DistillError
from cascade_distill.progress import bar
from cascade_distill.run import Run
from cascade_distill.tracking import Tracker

EXISTING = click.Path(exists=True, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
# A file to read, or "-", standard input.
READ = click.Path(exists=True, allow_dash=True, path_type=Path)


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


def _text_files(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say how text files are written, where they do not say it themselves."""
    for option, metavar, says in (
        ("--delimiter", "CHARACTER", "What separates columns of CSV files; found by default."),
        ("--encoding", "NAME", "Of CSV files, such as cp1252; UTF-8 by default."),
    ):
        command = click.option(option, metavar=metavar, help=says)(command)
    return command


def _say(console: Console, text: str) -> None:
    """Print text as it is, however long its lines are."""
    if text:
        console.print(text, markup=False, highlight=False, soft_wrap=True)


@click.command()
@click.argument("tables", metavar="TABLE...", type=READ, nargs=-1, required=True)
@click.option("--out", type=FOLDER, help="Run folder; runs/TABLE by default.")
@click.option("--schema", "overrides", type=EXISTING, help="YAML or TOML with schema overrides.")
@click.option("--steps", type=click.IntRange(1), help="Training steps of 1,024 rows.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
@click.option("--dry-run", is_flag=True, help="Show the schema and what was found odd, and stop.")
@_text_files
@_friendly
def fit(
    tables: tuple[Path, ...],
    out: Path | None,
    overrides: Path | None,
    encoding: str | None,
    delimiter: str | None,
    steps: int | None,
    seed: int,
    threads: int | None,
    dry_run: bool,
) -> None:
    """Learn a teacher from TABLE, CSV (gzipped or not) or Parquet files; - is standard input.

    Infers the schema, shows it with what was found odd and what is left out, encodes the rows and
    trains a masked diffusion on them. Ctrl-C saves; the same command resumes.

    \b
    Examples:
      cascade fit payments.csv --dry-run
      cascade fit payments.csv --schema payments.yaml --out runs/payments
      cascade fit 2024.csv.gz 2025.csv.gz --out runs/payments
      psql -c 'copy payments to stdout csv header' | cascade fit - --out runs/payments
    """
    console = Console()
    read = read_files(tables, load_overrides(overrides) if overrides else None, encoding, delimiter)
    frame = read.frame
    schema = infer_schema(frame, read.overrides, read.findings.left_out)
    _say(console, schema.describe(folded_shares(schema, frame)))
    _say(console, read.findings.describe())
    if dry_run:
        return
    table = tables[0]
    run = Run(out or Path("runs") / _table_name(table))
    _threads(threads)
    recipe = pipeline.TeacherRecipe()
    train = replace(recipe.train, seed=seed, steps=steps or recipe.train.steps)
    source = _names(tables)
    pipeline.prepare(run, schema, frame, source=source)
    run.save_forms(read.findings.forms)
    tracker = Tracker(run, "fit")
    recipe = replace(recipe, train=train)
    tracker.parameters(**asdict(recipe), table=source, rows=len(frame), schema=schema.fingerprint)
    with bar("teacher", "steps", console) as progress:
        pipeline.fit_teacher(run, recipe, tracker.losses(progress))
    tracker.artefact(run.path("codec.json"))
    tracker.done()
    console.print(f"teacher in {run.folder}; next: cascade distill {run.folder}")


def _table_name(path: Path) -> str:
    """What to call a table by default: its file's name without what follows the first point."""
    return "stdin" if str(path) == "-" else path.name.removesuffix(".gz").rsplit(".", 1)[0]


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
@click.option(
    "--train", type=READ, required=True, multiple=True, help="The table learnt from; repeat it."
)
@click.option(
    "--test", type=READ, required=True, multiple=True, help="Real rows held out; repeat it."
)
@click.option("--target", help="Column to predict for mle_auc.")
@click.option("--samples", type=click.IntRange(1), default=3, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
@_text_files
@_friendly
def evaluate(
    folder: Path,
    train: tuple[Path, ...],
    test: tuple[Path, ...],
    target: str | None,
    samples: int,
    threads: int | None,
    encoding: str | None,
    delimiter: str | None,
) -> None:
    """Measure how close the rows of run folder FOLDER's models are to real ones.

    Prints each figure for student and teacher beside its noise floor, real held-out rows in the
    place of synthetic ones, and keeps them for the release. Files are read as those that were
    learnt from; cells that do not fit are named.

    \b
    Example:
      cascade evaluate runs/payments --train train.csv --test test.csv --target fraud
    """
    from cascade_distill.measure import measure_run, print_figures

    console = Console()
    run = Run(folder)
    tracker = Tracker(run, "evaluate")
    schema, forms = run.codec().schema, run.forms()
    learnt, held_out = (
        read_by_schema(files, schema, forms, encoding, delimiter) for files in (train, test)
    )
    _say(console, _misfits(_names(train), learnt))
    _say(console, _misfits(_names(test), held_out))
    threads = _threads(threads)
    figures = measure_run(
        run, learnt.frame, held_out.frame, target, samples, threads, console.print
    )
    tracker.parameters(train=_names(train), test=_names(test), target=target, samples=samples)
    tracker.metrics(
        {f"{tier}.{name}": v for tier, found in figures.items() for name, v in found.items()}
    )
    tracker.artefact(run.path("fidelity.json"))
    tracker.done()
    print_figures(figures, console)


def _names(files: Sequence[Path]) -> str:
    return ", ".join(file.name for file in files)


def _misfits(files: str, table: Table) -> str:
    """What does not fit in files that were read by a schema, a line a column."""
    return "\n".join(
        f"{files}: {each.column}: {each.describe()} do not fit {each.form}; they count as NULL"
        for each in table.findings.odd
    )


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
