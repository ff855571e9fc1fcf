"""(b): the rare class is rare. What do more rows of it, or heavier ones, give a model?"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.learning.utility.intervals import measured
from benchmarks.learning.utility.late import PATIENCE, Bench
from benchmarks.learning.utility.scoring import Matrix, score

console = Console(stderr=True, highlight=False)
# Rows of the rarer class, those that are made included, for one of the other.
RATIO = 1.0
Rows = tuple[Matrix, NDArray[np.int64]]


def augmentation(bench: Bench, seeds: int, tiers: tuple[str, ...]) -> dict[str, Any]:
    """Every method's mean and interval, and differences to training with nothing."""
    makers: dict[str, Callable[[Bench, int], Rows]] = {
        "nothing": lambda bench, _: (bench.train, bench.truth),
        "class_weights": lambda bench, _: (bench.train, bench.truth),
        "random_oversampling": oversampled,
        "smote_nc": smote,
    }
    if "student" in tiers:
        makers["student"] = by_student
    if "teacher" in tiers:
        makers["teacher"] = by_teacher
    scores: dict[str, list[Any]] = {}
    seconds: dict[str, float] = {}
    for seed in range(seeds):
        for name, make in makers.items():
            console.print(f"{bench.problem.table.name}: trained with {name}, seed {seed}")

            def scored(name: str = name, make: Any = make, seed: int = seed) -> NDArray[Any]:
                began = time.perf_counter()
                rows, truth = make(bench, seed)
                spent = time.perf_counter() - began
                more: dict[str, Any] = {}
                if name == "class_weights":
                    more["scale_pos_weight"] = float((truth == 0).sum() / (truth == 1).sum())
                model = bench.learn(rows, truth, seed, bench.encoding.types, **more)
                return np.append(score(model, bench.test), np.float32(spent))

            found = bench.kept.array(f"balanced-{name}-seed{seed}", scored)
            scores.setdefault(name, []).append(found[:-1])
            seconds[name] = round(float(found[-1]), 1)
    truth = bench.problem.truth(bench.problem.test)
    pairs = [(name, "nothing") for name in scores if name != "nothing"]
    methods, differences = measured(scores, truth, pairs)
    return {
        "positive_share": round(float(bench.truth.mean()), 4),
        "rows_made": missing_rows(bench),
        "methods": {name: {**each, "seconds": seconds[name]} for name, each in methods.items()},
        "differences": differences,
    }


def missing_rows(bench: Bench) -> int:
    """Rows of the rarer class that are missing from a balanced table."""
    rare = int(bench.truth.sum())
    return max(0, round(RATIO * (len(bench.truth) - rare)) - rare)


def with_rare(bench: Bench, made: Matrix) -> Rows:
    """The train split, and rows of the rarer class after it."""
    truth = np.concatenate([bench.truth, np.ones(len(made), np.int64)])
    return np.concatenate([bench.train, made]), truth


def oversampled(bench: Bench, seed: int) -> Rows:
    """Rows of the rarer class again and again."""
    rare = np.flatnonzero(bench.truth)
    again = np.random.default_rng(seed).choice(rare, missing_rows(bench))
    return with_rare(bench, bench.train[again])


def smote(bench: Bench, seed: int) -> Rows:
    """imbalanced-learn's SMOTE-NC, or SMOTE where there are no categories; NULL is a category, or a
    number's mean."""
    from imblearn.over_sampling import SMOTE, SMOTENC

    rows = bench.train.copy()
    kinds = bench.encoding.types
    null = [float(np.nanmax(rows[:, at])) + 1 for at in range(rows.shape[1])]
    for at, kind in enumerate(kinds):
        is_null = np.isnan(rows[:, at])
        rows[is_null, at] = null[at] if kind == "c" else np.nanmean(rows[:, at])
    categories = [at for at, kind in enumerate(kinds) if kind == "c"]
    sampler = (
        SMOTENC(categories, random_state=seed, sampling_strategy=RATIO)
        if categories
        else SMOTE(random_state=seed, sampling_strategy=RATIO)
    )
    more, truth = sampler.fit_resample(rows, bench.truth)
    made = np.asarray(more, np.float32)[len(rows) :]
    for at in categories:
        made[made[:, at] == null[at], at] = np.nan
    return np.concatenate([bench.train, made]), np.asarray(truth)


def by_student(bench: Bench, seed: int) -> Rows:
    """Rows that the student draws given that they are of the rarer class."""
    problem = bench.problem
    given = pd.DataFrame({problem.target: [problem.positive] * missing_rows(bench)})
    answer = bench.client.synthesize(
        problem.table.name, given, seed=seed + 1, fidelity="fast", timeout=PATIENCE
    )
    return with_rare(bench, bench.encoding.matrix(answer.data))


def by_teacher(bench: Bench, seed: int) -> Rows:
    """Rows that the teacher draws given that, as `Generate` does."""
    problem = bench.problem
    answer = bench.client.generate(
        problem.table.name,
        missing_rows(bench),
        given={problem.target: problem.positive},
        seed=seed + 1,
        timeout=PATIENCE,
    )
    return with_rare(bench, bench.encoding.matrix(answer.data))
