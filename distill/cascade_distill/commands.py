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
from cascade_tables import CascadeTablesError
from cascade_tables.files.reading import read_by_schema
from cascade_tables.releases.triton_files import TritonRuntime
from rich.console import Console

from cascade_distill import recipes
from cascade_distill.errors import DistillError
from cascade_distill.fidelity.memorisation import beyond_floor
from cascade_distill.fitting import asked_of, durations, recipe_of
from cascade_distill.given_tables import Given, Readable, fetched, name_of
from cascade_distill.learning import preparing
from cascade_distill.learning.preparing import Encoded, misfits, names_of
from cascade_distill.learning.rows import has_bfloat16, learnt_size
from cascade_distill.learning.student import (
    ask_teacher_of_rows,
    bounded_distilling,
    distill_student,
)
from cascade_distill.learning.teacher import bounded, fit_teacher
from cascade_distill.learning.teacher_rows import draw_teacher_rows
from cascade_distill.runs.finished import teacher_graph
from cascade_distill.runs.run import Run
from cascade_distill.tracking import Tracker
from cascade_distill.training.progress import bar

EXISTING = click.Path(exists=True, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
MINUTES = click.FloatRange(min=0, min_open=True)


def _friendly(command: Callable[..., None]) -> Callable[..., None]:
    """Print this project's errors, and the system's, as one message, without a traceback; exit
    code 1."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (DistillError, CascadeTablesError) as exc:
            raise click.ClickException(str(exc)) from exc
        except OSError as exc:
            where = f"{exc.filename}: " if exc.filename else ""
            raise click.ClickException(f"{where}{exc.strerror or exc}") from exc

    return run


def _at_work(run: Run) -> None:
    """Have a run folder to oneself until the command ends; raises RunBusy."""
    click.get_current_context().with_resource(run.at_work())


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
@click.argument("tables", metavar="TABLE...", type=Readable(), nargs=-1, required=True)
@click.option("--out", type=FOLDER, help="Run folder; runs/TABLE by default.")
@click.option("--schema", "overrides", type=EXISTING, help="YAML or TOML with schema overrides.")
@click.option(
    "--validation",
    type=Readable(allow_dash=False),
    help="Rows that tell when training should end; some of TABLE's by default.",
)
@click.option(
    "--steps", type=click.IntRange(1), help="Training steps at most; by the table's size."
)
@click.option("--minutes", type=MINUTES, help="Minutes of training at most.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show the schema, what was found odd and what would be trained; stop.",
)
@_text_files
@_friendly
def fit(
    tables: tuple[Given, ...],
    out: Path | None,
    overrides: Path | None,
    encoding: str | None,
    delimiter: str | None,
    validation: Given | None,
    steps: int | None,
    minutes: float | None,
    seed: int,
    threads: int | None,
    dry_run: bool,
) -> None:
    """Learn a teacher from TABLE: CSV (gzipped or not), Parquet or Arrow files, - for standard
    input, or a URL of a database's table or query, a Delta table or files.

    Infers the schema, finds exact relations between numbers, shows both with what was found odd
    and what is left out, encodes the rows and trains a masked diffusion on them, as large and as
    long as the table's rows and columns say. Some rows are held out: training ends when it no
    longer makes them likelier, and its best state is kept. Ctrl-C saves; the same command resumes.
    What was decided is in the run folder's schema.yaml, which may be changed and given back with
    --schema.

    \b
    Examples:
      cascade fit payments.csv --dry-run
      cascade fit payments.csv --schema payments.yaml --out runs/payments
      cascade fit 2024.csv.gz 2025.csv.gz --out runs/payments
      cascade fit payments.csv --validation next_month.csv --minutes 10
      cascade fit postgresql://ann@db.example.org/bank#payments --dry-run
      cascade fit 's3://bucket/payments/*.parquet' --out runs/payments

    A database's password is read from CASCADE_DATABASE_PASSWORD, or from the file that
    CASCADE_DATABASE_PASSWORD_FILE names.
    """
    console = Console()
    run = Run(out or Path("runs") / name_of(tables[0]))
    if not dry_run:
        _at_work(run)
    folder = None if dry_run else run.folder
    asked = asked_of(tables, validation, folder, overrides, encoding, delimiter, seed)
    key = "" if dry_run else asked.fingerprint()
    found = (None if dry_run else preparing.encoded_before(run, key)) or preparing.read(asked)
    for paragraph in found.said:
        _say(console, paragraph)
    size, bfloat16 = found.size, has_bfloat16(run)
    recipe = recipe_of(size, bfloat16, steps, seed)
    for warning in recipes.warnings(size.rows, size.columns):
        _say(console, f"warning: {warning}")
    if dry_run:
        _say(console, recipes.described(recipe, size.learnt, size.columns, size.held_out))
        return
    workers = _threads(threads)
    if isinstance(found, Encoded):
        encoded = found
        _say(console, f"read before: the tokens of these files are in {run.folder}")
    else:
        encoded = preparing.encode(run, asked, key, found)
    preparing.forget_spooled(run)
    # The rows need not be in memory while they are learnt from.
    del found
    preparing.give_memory_back()
    size = encoded.size
    if encoded.left_out:
        _say(
            console,
            f"warning: {encoded.left_out:,} rows of {validation} have values that {asked.source} "
            "lacks",
        )
    if minutes is not None:
        recipe = bounded(run, recipe, minutes)
    _say(console, recipes.described(recipe, size.learnt, size.columns, size.held_out))
    if not run.path("teacher.checkpoint.safetensors").exists():
        _say(console, durations(run, recipe, size, bfloat16, workers))
    tracker = Tracker(run, "fit")
    schema = run.codec().schema.fingerprint
    tracker.parameters(**asdict(recipe), table=asked.source, rows=size.rows, schema=schema)
    with bar("teacher", "steps", console) as progress:
        outcome = fit_teacher(run, recipe, tracker.losses(progress), progress.settling)
    tracker.artefact(run.path("codec.json"))
    tracker.done()
    _say(console, outcome.described())
    console.print(f"schema in {run.path('schema.yaml')}, to change and to give with --schema")
    console.print(f"teacher in {run.folder}; next: cascade distill {run.folder}")


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--steps", type=click.IntRange(1), help="Training steps at most; by the table's size."
)
@click.option("--rows", type=click.IntRange(1), help="Teacher rows to learn from; likewise.")
@click.option("--minutes", type=MINUTES, help="Minutes at most, for rows and training together.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
@_friendly
def distill(
    folder: Path,
    steps: int | None,
    rows: int | None,
    minutes: float | None,
    seed: int,
    threads: int | None,
) -> None:
    """Distil a student from the teacher in run folder FOLDER.

    The student learns rows that the teacher made, what the teacher says of some of them, and
    beside them the rows that the teacher learnt from. Those that fit held out end its training too,
    and its last good state is kept. Ctrl-C saves the rows that the teacher has made and what the
    student has learnt, and the same command resumes; what the teacher says of the rows is kept when
    it has said all.

    \b
    Examples:
      cascade distill runs/payments
      cascade distill runs/payments --minutes 5
    """
    console = Console()
    run = Run(folder)
    run.require("codec.json", f"cascade fit TABLE --out {run.folder}")
    _at_work(run)
    workers = _threads(threads)
    recipe = recipes.student_recipe(*learnt_size(run), has_bfloat16(run))
    recipe = recipes.fitting_memory(recipe, run.codec().layout.sizes)
    train = recipes.with_steps(recipe.train, steps or recipe.train.steps)
    recipe = replace(recipe, train=replace(train, seed=seed), rows=rows or recipe.rows)
    if minutes is not None:
        teacher_graph(run)
        recipe = bounded_distilling(run, recipe, minutes, workers)
    tracker = Tracker(run, "distill")
    tracker.parameters(**asdict(recipe))
    with bar("teacher rows", "rows", console) as progress:
        draw_teacher_rows(run, recipe.rows, seed, workers, progress.rows)
    with bar("what the teacher says of them", "rows", console) as progress:
        ask_teacher_of_rows(run, recipe, progress.rows)
    with bar("student", "steps", console) as progress:
        outcome = distill_student(run, recipe, tracker.losses(progress), progress.settling)
    tracker.done()
    _say(console, outcome.described())
    console.print(f"student in {run.folder}; next: cascade release {run.folder}")


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--train",
    type=Readable(),
    required=True,
    multiple=True,
    help="The table learnt from; may repeat.",
)
@click.option(
    "--test",
    type=Readable(),
    multiple=True,
    help="Other real rows, repeat it; those of the table that fit held out by default.",
)
@click.option("--target", help="Column to predict for mle_auc.")
@click.option("--samples", type=click.IntRange(1), default=3, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
@_text_files
@_friendly
def evaluate(
    folder: Path,
    train: tuple[Given, ...],
    test: tuple[Given, ...],
    target: str | None,
    samples: int,
    threads: int | None,
    encoding: str | None,
    delimiter: str | None,
) -> None:
    """Measure how close the rows of run folder FOLDER's models are to real ones.

    Prints each figure for student and teacher beside its noise floor, real held-out rows in the
    place of synthetic ones, and keeps them for the release. Shows the rows that have most in common
    with a row learnt from, and says where they have more than real held-out rows do. Files are read
    as those that were learnt from, by the same URLs; cells that do not fit are named.

    \b
    Example:
      cascade evaluate runs/payments --train payments.csv
      cascade evaluate runs/payments --train train.csv --test test.csv --target fraud
    """
    from cascade_distill.measure import measure_run, print_copies, print_figures

    console = Console()
    run = Run(folder)
    run.require("codec.json", f"cascade fit TABLE --out {run.folder}")
    _at_work(run)
    tracker = Tracker(run, "evaluate")
    schema, forms = run.codec().schema, run.forms()
    if target is not None:
        schema[target]  # a name that it has not is refused before anything takes long
    train_files, test_files = fetched(train, run.folder), fetched(test, run.folder)
    learnt = read_by_schema(train_files, schema, forms, encoding, delimiter)
    _say(console, misfits(names_of(train_files), learnt))
    others = None
    if test:
        table = read_by_schema(test_files, schema, forms, encoding, delimiter)
        _say(console, misfits(names_of(test_files), table))
        others = table.frame
    threads = _threads(threads)
    figures, copies = measure_run(
        run, learnt.whole, others, target, samples, threads, console.print
    )
    test_name = names_of(test_files) if test else "held out by fit"
    tracker.parameters(train=names_of(train_files), test=test_name, target=target, samples=samples)
    tracker.metrics(
        {f"{tier}.{name}": v for tier, found in figures.items() for name, v in found.items()}
    )
    tracker.artefact(run.path("fidelity.json"))
    tracker.done()
    print_figures(figures, console)
    print_copies(copies, console)
    for sentence in beyond_floor(figures) or ():
        console.print(f"warning: {sentence}", markup=False, highlight=False, soft_wrap=True)


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
@click.option(
    "--accept-memorisation",
    is_flag=True,
    help="Release rows that are closer to those learnt from than real ones are.",
)
@_friendly
def release(
    folder: Path,
    table: str | None,
    repository: str,
    number: int | None,
    runtime: str,
    accept_memorisation: bool,
) -> None:
    """Write the models of run folder FOLDER into a model repository.

    With them come the files that Triton needs; `cascade configure` writes those anew. Models whose
    rows lean on the rows learnt from, as `cascade evaluate` has found, are refused.

    \b
    Example:
      cascade release runs/payments --table payments
      cascade release runs/payments --runtime onnxruntime
      cascade release runs/payments --repository s3://bucket/models
    """
    from cascade_distill.releasing import NOT_MEASURED, release_run

    run = Run(folder)
    run.require("codec.json", f"cascade fit TABLE --out {run.folder}")
    _at_work(run)
    tracker = Tracker(run, "release")
    manifest = release_run(
        run, repository, table or run.name, number, TritonRuntime(runtime), accept_memorisation
    )
    tracker.parameters(repository=repository)
    tracker.released(manifest, json.dumps(asdict(manifest), indent=2) + "\n")
    tracker.done()
    console = Console()
    console.print(f"released {manifest.table} version {manifest.version} in {repository}")
    about = manifest.training["memorisation"]
    for sentence in about.get("found", ()):
        console.print(f"accepted: {sentence}", markup=False, highlight=False, soft_wrap=True)
    if about["verdict"] == NOT_MEASURED:
        console.print(f"whether it memorised rows was not measured; see cascade evaluate {folder}")
