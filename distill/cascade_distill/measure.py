"""Fidelity figures of a run's student and teacher, beside their noise floor, for the release."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from cascade_tables import Codec, Frame
from cascade_tables.files.deciding_rows import spread_rows
from cascade_tables.files.table import Stream
from rich.console import Console
from rich.table import Table

from cascade_distill.errors import NothingHeldOut
from cascade_distill.fidelity.evaluation import FEWEST, cached_floor, check_rows, evaluate
from cascade_distill.fidelity.memorisation import Copy, worst_copies
from cascade_distill.learning.rows import parts_of, taken_from
from cascade_distill.runs.finished import student_graph, teacher_graph
from cascade_distill.runs.run import Run
from cascade_distill.runtime import StudentSampler, TeacherSampler, sample_tokens

TIERS = ("student", "teacher")

# Most rows to compare, real and synthetic; a longer table is sampled. A share of this many rows is
# known to a third of a point.
MOST_COMPARED = 100_000
# Copies to show for each of student and teacher.
SHOWN = 3

Figures = dict[str, dict[str, float]]
Copies = dict[str, list[Copy]]


def draw_samples(
    sampler: StudentSampler | TeacherSampler, codec: Codec, rows: int, samples: int
) -> list[pd.DataFrame]:
    """Draw independent synthetic tables of `rows` rows each, with the same seeds on every call."""
    drawn = []
    for seed in range(samples):
        tokens = sample_tokens(sampler, rows, seed)
        drawn.append(codec.decode(tokens, np.random.default_rng(seed)).to_pandas())
    return drawn


def measure_run(
    run: Run,
    train: Stream,
    test: Frame | None,
    target: str | None,
    samples: int = 3,
    threads: int = 1,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[Figures, Copies]:
    """Measure a run's student and teacher, and store the figures in its fidelity.json.

    Args:
        run: a run folder with a finished student.
        train: the table given to `cascade fit`. Its held-out rows do not count as training rows; of
            many rows, `MOST_COMPARED` are compared.
        test: other real rows; None: the held-out rows of `train`.
        target: column to predict for mle_auc; None: left out.
        samples: synthetic tables for each of student and teacher, each with as many rows as it is
            compared with; figures are means.
        threads: of ONNX Runtime and XGBoost.
        report: called with progress messages.

    Returns:
        Figures of "student", "teacher" and "floor" by name, see `fidelity.evaluation`; and for
        student and teacher, the rows of the first sample that share most cells with a training row.

    Raises:
        OtherTable: `train` is not the table that the run was trained on.
        NothingHeldOut: there is no `test`, and `train` has no held-out rows, or too few.
    """
    codec = run.codec()
    learnt, held_out = parts_of(run, train)
    if test is None and not len(held_out):
        raise NothingHeldOut(
            f"no rows of the table were held out of {run.folder}; give some with --test"
        )
    if test is None and len(held_out) < FEWEST:
        raise NothingHeldOut(
            f"{len(held_out)} rows of the table were held out of {run.folder}, and at least "
            f"{FEWEST} are needed to compare with; give other real rows with --test"
        )
    if len(learnt) > MOST_COMPARED:
        report(f"comparing {MOST_COMPARED:,} of the {len(learnt):,} rows that were learnt from")
        learnt = learnt[spread_rows(len(learnt), MOST_COMPARED)]
    real, others = taken_from(run, train, (learnt, held_out))
    if test is None:
        test = others
        report(f"test: the {len(test):,} rows of the table that were held out")
    elif len(test) > MOST_COMPARED:
        test = test.take(spread_rows(len(test), MOST_COMPARED))
    real_train, real_test = real.to_pandas(), test.to_pandas()
    check_rows(train=real_train, test=real_test)
    real_train.index = pd.Index(learnt)
    make: Mapping[str, Callable[[], StudentSampler | TeacherSampler]] = {
        "student": lambda: StudentSampler(str(student_graph(run)), codec.layout, threads),
        "teacher": lambda: TeacherSampler(str(teacher_graph(run)), codec.layout, threads),
    }
    figures: Figures = {}
    copies: Copies = {}
    samplers = {tier: make[tier]() for tier in TIERS}
    graphs = {tier: run.digest(f"{tier}.onnx") for tier in TIERS}
    for tier in TIERS:
        report(f"{tier}: drawing {samples} samples of {len(learnt):,} rows")
        drawn = draw_samples(samplers[tier], codec, len(learnt), samples)
        report(f"{tier}: comparing them with real rows")
        result = evaluate(real_train, real_test, drawn, codec.schema, target, threads)
        figures[tier] = result.rounded()
        copies[tier] = worst_copies(real_train, drawn[0], codec.schema, SHOWN)
    report("floor: comparing real rows with real rows")
    floor = cached_floor(real_train, real_test, codec.schema, target, threads)
    figures["floor"] = floor.rounded()
    run.write_json("fidelity.json", figures)
    run.update(measured=graphs)
    return figures, copies


def print_figures(figures: Figures, console: Console) -> None:
    """Print one line per figure, with student, teacher and floor side by side."""
    table = Table("figure", *figures, box=None)
    for name in dict.fromkeys(name for tier in figures.values() for name in tier):
        values = (tier.get(name) for tier in figures.values())
        table.add_row(name, *("" if value is None else f"{value:.3f}" for value in values))
    console.print(table)
    console.print("floor: real held-out rows in the place of synthetic ones")


def print_copies(copies: Copies, console: Console) -> None:
    """Print the synthetic rows of student and teacher that are closest to a training row."""
    for tier, worst in copies.items():
        console.print(f"{tier}: its rows that have most in common with a row learnt from")
        for each in worst:
            others = ", ".join(
                f"{name} {each.values[name]!s} (there {value!s})"
                for name, value in each.differs.items()
            )
            console.print(
                f"  {each.equal} of {each.columns} cells of the table's row {each.learnt_row + 1:,}"
                + (f"; not {others}" if others else ": a copy"),
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
