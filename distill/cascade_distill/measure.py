"""Figures of a run's student and teacher, beside their noise floor, for the release."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from cascade_tables import Codec, Frame
from rich.console import Console
from rich.table import Table

from cascade_distill.fidelity.evaluation import cached_floor, evaluate
from cascade_distill.run import Run
from cascade_distill.runtime import StudentSampler, TeacherSampler, sample_tokens

TIERS = ("student", "teacher")

Figures = dict[str, dict[str, float]]


def draw_samples(
    sampler: StudentSampler | TeacherSampler, codec: Codec, rows: int, samples: int
) -> list[pd.DataFrame]:
    """Independent synthetic tables of `rows` rows each, of equal seeds on every call."""
    drawn = []
    for seed in range(samples):
        tokens = sample_tokens(sampler, rows, seed)
        drawn.append(codec.decode(tokens, np.random.default_rng(seed)).to_pandas())
    return drawn


def measure_run(
    run: Run,
    train: Frame,
    test: Frame,
    target: str | None,
    samples: int = 3,
    threads: int = 1,
    report: Callable[[str], None] = lambda _: None,
) -> Figures:
    """Measure a run's student and teacher, and keep the figures in its fidelity.json.

    Args:
        run: a run folder with a finished student.
        train: the rows that were learnt from.
        test: real rows held out.
        target: column to predict for mle_auc; None: left out.
        samples: synthetic tables a tier, each of as many rows as `train`; figures are means.
        threads: of ONNX Runtime and XGBoost.
        report: told what is being done.

    Returns:
        Figures of "student", "teacher" and "floor" by name; see `fidelity.evaluation`.
    """
    codec = run.codec()
    real_train, real_test = train.to_pandas(), test.to_pandas()
    make: Mapping[str, Callable[[], StudentSampler | TeacherSampler]] = {
        "student": lambda: StudentSampler(
            str(run.require("student.onnx", f"cascade distill {run.folder}")),
            codec.layout,
            threads,
        ),
        "teacher": lambda: TeacherSampler(
            str(run.require("teacher.onnx", f"cascade fit TABLE --out {run.folder}")),
            codec.layout,
            threads,
        ),
    }
    figures: Figures = {}
    for tier in TIERS:
        report(f"{tier}: drawing {samples} samples of {len(train):,} rows")
        drawn = draw_samples(make[tier](), codec, len(train), samples)
        report(f"{tier}: comparing them with real rows")
        result = evaluate(real_train, real_test, drawn, codec.schema, target, threads)
        figures[tier] = result.rounded()
    report("floor: comparing real rows with real rows")
    floor = cached_floor(real_train, real_test, codec.schema, target, threads)
    figures["floor"] = floor.rounded()
    run.write_json("fidelity.json", figures)
    return figures


def print_figures(figures: Figures, console: Console) -> None:
    """One line a figure, student, teacher and floor beside each other."""
    table = Table("figure", *figures, box=None)
    for name in dict.fromkeys(name for tier in figures.values() for name in tier):
        values = (tier.get(name) for tier in figures.values())
        table.add_row(name, *("" if value is None else f"{value:.3f}" for value in values))
    console.print(table)
    console.print("floor: real held-out rows in the place of synthetic ones")
