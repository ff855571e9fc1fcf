"""(a): the k most important features of rows are late. What are the model's scores worth then?"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from cascade_client import Client
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.learning.utility.imputers import IMPUTERS, Imputer
from benchmarks.learning.utility.intervals import measured
from benchmarks.learning.utility.partial import Partial
from benchmarks.learning.utility.problems import Problem
from benchmarks.learning.utility.scoring import XGBOOST, Encoding, Matrix, gains, learn, score

DRAWS = (1, 8, 32)
TIERS = {"student": "fast", "teacher": "full"}
# Rows that are completed and scored one at a time: the first warm, the others are timed, and what
# is told is what the fastest tenth take at most, so that other work on the machine counts less.
WARM_ROWS, TIMED_ROWS, TIMED_QUANTILE = 20, 100, 0.1
# Seconds that all rows of a table may take.
PATIENCE = 7200.0
# Share of the cells that are hidden from the model that learns with hidden features.
HIDDEN_SHARE, HIDDEN_SEED = 0.2, 20_096
console = Console(stderr=True, highlight=False)


@dataclass
class Bench:
    """What every seed and every k uses of a problem.

    Attributes:
        problem: the table.
        encoding: of its features.
        train, test: encoded.
        client: of a server that has a release of the table.
        kept: results of what was cut off.
        threads: of XGBoost.
        trees: of each model.
    """

    problem: Problem
    client: Client
    kept: Partial
    threads: int = 1
    trees: int = XGBOOST["n_estimators"]

    def __post_init__(self) -> None:
        problem = self.problem
        self.encoding = Encoding(problem.schema, problem.features, problem.train)
        self.train = self.encoding.matrix(problem.train)
        self.test = self.encoding.matrix(problem.test)
        self.truth = problem.truth(problem.train)
        self._models: dict[tuple[int, tuple[int, ...], bool], Any] = {}

    def model(self, seed: int, left_out: tuple[int, ...] = (), hidden: bool = False) -> Any:
        """The model of a seed: of all features, of all but some, or learnt with cells hidden."""
        key = (seed, left_out, hidden)
        if key not in self._models:
            kept = [at for at in range(self.train.shape[1]) if at not in left_out]
            rows, truth = self.train[:, kept], self.truth
            if hidden:
                # Beside the rows as they are, so that it stays good where nothing is missing.
                rng = np.random.default_rng((HIDDEN_SEED, seed))
                masked = rows.copy()
                masked[rng.random(rows.shape) < HIDDEN_SHARE] = np.nan
                rows, truth = np.concatenate([rows, masked]), np.concatenate([truth, truth])
            types = [self.encoding.types[at] for at in kept]
            self._models[key] = self.learn(rows, truth, seed, types)
        return self._models[key]

    def learn(
        self, rows: Matrix, truth: NDArray[np.int64], seed: int, types: list[str], **more: Any
    ) -> Any:
        """A model of other rows than the table's."""
        return learn(rows, truth, types, seed, self.threads, n_estimators=self.trees, **more)

    def important(self, seeds: int, k: int) -> list[str]:
        """The features whose splits gain the models of all seeds most."""
        features = self.problem.features
        of_seeds = [
            self.kept.array(f"gains-seed{seed}", lambda s=seed: gains(self.model(s), len(features)))
            for seed in range(seeds)
        ]
        return [features[at] for at in np.argsort(-np.sum(of_seeds, axis=0))[:k]]


def late_features(bench: Bench, ks: tuple[int, ...], seeds: int, tiers: tuple[str, ...]) -> Any:
    """Every method's mean and interval, for each k."""
    out: dict[str, Any] = {}
    for k in ks:
        names = bench.important(seeds, k)
        if len(names) < k or k >= len(bench.problem.features):
            console.print(f"{bench.problem.table.name} has too few features for k = {k}")
            continue
        out[str(k)] = _of_k(bench, names, seeds, tiers)
    return out


def _of_k(bench: Bench, names: list[str], seeds: int, tiers: tuple[str, ...]) -> dict[str, Any]:
    k, features = len(names), bench.problem.features
    late = [features.index(name) for name in names]
    hidden = bench.test.copy()
    hidden[:, late] = np.nan
    kept = [at for at in range(len(features)) if at not in late]
    scores: dict[str, list[Any]] = {}
    times: dict[str, float] = {}
    filled: dict[str, Callable[[], Matrix]] = {}
    for name, imputer in IMPUTERS.items():
        filled[name] = _once(lambda made=imputer: _imputed(bench, made, late, hidden))
    for seed in range(seeds):

        def keep(name: str, make: Callable[[], Any], seed: int = seed) -> None:
            found = bench.kept.array(f"late-{k}-{name}-seed{seed}", make)
            scores.setdefault(name, []).append(found)

        console.print(f"{bench.problem.table.name}: {k} late ({', '.join(names)}), seed {seed}")
        keep("nothing_missing", lambda s=seed: score(bench.model(s), bench.test))
        keep(
            "without_them",
            lambda s=seed: score(bench.model(s, tuple(late)), bench.test[:, kept]),
        )
        keep("xgboost", lambda s=seed: score(bench.model(s), hidden))
        keep("xgboost_hidden", lambda s=seed: score(bench.model(s, hidden=True), hidden))
        for name, rows in filled.items():
            keep(name, lambda s=seed, r=rows: score(bench.model(s), r()))
        for tier in tiers:
            every = bench.kept.array(
                f"late-{k}-{tier}-draws-seed{seed}",
                lambda s=seed, t=tier: _drawn(bench, names, s, t),
            )
            for draws in DRAWS:
                scores.setdefault(f"{tier}_{draws}", []).append(every[:, :draws].mean(axis=1))
    for name in scores:
        times[name] = bench.kept.value(
            f"late-{k}-{name}-ms", lambda n=name: _milliseconds(bench, n, names, late)
        )
    pairs = [
        (f"{tier}_{DRAWS[-1]}", other)
        for tier in tiers
        for other in scores
        if other.partition("_")[0] not in TIERS
    ]
    truth = bench.problem.truth(bench.problem.test)
    methods, differences = measured(scores, truth, pairs)
    return {
        "features": names,
        "methods": {name: {**each, "ms": times[name]} for name, each in methods.items()},
        "differences": differences,
    }


def _once(make: Callable[[], Matrix]) -> Callable[[], Matrix]:
    """A function that makes something the first time it is asked for."""
    made: list[Matrix] = []

    def given() -> Matrix:
        if not made:
            made.append(make())
        return made[0]

    return given


def _imputed(bench: Bench, imputer: Any, late: list[int], hidden: Matrix) -> Matrix:
    filler: Imputer = imputer(bench.train, bench.encoding.types, late)
    return filler.fill(hidden)


def _known(bench: Bench, names: list[str]) -> pd.DataFrame:
    """The scored rows as a service has them: without the late features, and without the target."""
    return bench.problem.test[[name for name in bench.problem.features if name not in names]]


def _with_drawn(bench: Bench, names: list[str], rows: Matrix, drawn: pd.DataFrame) -> Matrix:
    """Encoded rows, each as often as it was drawn, with the late features as they were drawn."""
    out = np.repeat(rows, len(drawn) // len(rows), axis=0)
    for name in names:
        out[:, bench.problem.features.index(name)] = bench.encoding.column(name, drawn[name])
    return out


def _drawn(bench: Bench, names: list[str], seed: int, tier: str) -> Matrix:
    """The score of each draw, [rows, draws]."""
    most = DRAWS[-1]
    answer = bench.client.synthesize(
        bench.problem.table.name,
        _known(bench, names),
        draws=most,
        columns=names,
        seed=seed + 1,
        fidelity=TIERS[tier],  # type: ignore[arg-type]
        timeout=PATIENCE,
    )
    rows = _with_drawn(bench, names, bench.test, answer.data)
    return score(bench.model(seed), rows).reshape(-1, most)


def _milliseconds(bench: Bench, name: str, names: list[str], late: list[int]) -> float:
    """From a row whose features are late to its score, one row after another."""
    one = _scorer(bench, name, names, late)
    spent = []
    for at in range(min(WARM_ROWS + TIMED_ROWS, len(bench.test))):
        began = time.perf_counter()
        one(at)
        spent.append(1e3 * (time.perf_counter() - began))
    return round(float(np.quantile(spent[-TIMED_ROWS:], TIMED_QUANTILE)), 3)


def _scorer(bench: Bench, name: str, names: list[str], late: list[int]) -> Callable[[int], object]:
    """What a method does for one row, by its number."""
    hidden = bench.test.copy()
    hidden[:, late] = np.nan
    tier, _, draws = name.partition("_")
    if tier in TIERS:
        known = _known(bench, names).astype(object)
        rows = known.where(known.notna(), None).to_dict("records")

        def asked(at: int) -> object:
            answer = bench.client.synthesize(
                bench.problem.table.name,
                [rows[at]],
                draws=int(draws),
                columns=names,
                fidelity=TIERS[tier],  # type: ignore[arg-type]
                timeout=PATIENCE,
            )
            drawn = pd.DataFrame(answer.data)
            return score(bench.model(0), _with_drawn(bench, names, hidden[at : at + 1], drawn))

        return asked
    if name in IMPUTERS:
        filler: Imputer = IMPUTERS[name](bench.train, bench.encoding.types, late)
        return lambda at: score(bench.model(0), filler.fill(hidden[at : at + 1]))
    if name == "without_them":
        kept = [at for at in range(hidden.shape[1]) if at not in late]
        rest, model = hidden[:, kept], bench.model(0, tuple(late))
        return lambda at: score(model, rest[at : at + 1])
    model = bench.model(0, hidden=name == "xgboost_hidden")
    scored = bench.test if name == "nothing_missing" else hidden
    return lambda at: score(model, scored[at : at + 1])
