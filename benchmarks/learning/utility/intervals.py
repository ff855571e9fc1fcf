"""How good scores are, and how sure that is: metrics with bootstrap intervals over rows and seeds.

Whoever trains with another seed, or scores other rows, finds other figures. A resample draws the
scored rows with replacement, and the seeds too, and is the same for all methods that are compared,
so that their difference is paired: by row and by seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
METRICS = ("average_precision", "auc", "brier", "ece")
# Groups of equal size by score, in which the mean score is held against the share that came true.
CALIBRATION_GROUPS = 15
RESAMPLES, RESAMPLE_SEED = 400, 20_094
LOW, HIGH = 0.025, 0.975


@dataclass(frozen=True)
class Ranked:
    """Scores of one seed in descending order, so that any resample of rows is measured quickly."""

    scores: Scores
    truth: Scores
    _order: NDArray[np.int64] = field(init=False)
    _ends: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        order = np.argsort(-self.scores, kind="stable")
        ranked = self.scores[order]
        # Equal scores are one threshold.
        ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
        object.__setattr__(self, "_order", order)
        object.__setattr__(self, "_ends", ends)

    def metrics(self, weight: NDArray[np.float64]) -> dict[str, float]:
        """Of rows, each as often as `weight` says."""
        truth, scores, times = (each[self._order] for each in (self.truth, self.scores, weight))
        hits = np.cumsum(times * truth)[self._ends]
        taken = np.cumsum(times)[self._ends]
        misses = taken - hits
        positives, rows = hits[-1], taken[-1]
        gained = np.diff(hits, prepend=0.0)
        precision = hits / np.maximum(taken, 1e-12)
        area = np.sum(np.diff(misses, prepend=0.0) * (hits - gained / 2))
        group = np.minimum(
            (np.cumsum(times) - times) * CALIBRATION_GROUPS // rows, CALIBRATION_GROUPS - 1
        ).astype(np.int64)
        gap = np.bincount(group, times * (scores - truth), CALIBRATION_GROUPS)
        return {
            "average_precision": float(np.sum(gained * precision) / positives),
            "auc": float(area / (positives * (rows - positives))),
            "brier": float(np.sum(times * (scores - truth) ** 2) / rows),
            "ece": float(np.abs(gap).sum() / rows),
        }


def measured(
    methods: Mapping[str, Sequence[Scores]],
    truth: NDArray[np.int64],
    differences: Sequence[tuple[str, str]] = (),
    resamples: int = RESAMPLES,
) -> tuple[dict[str, dict[str, list[float]]], dict[str, dict[str, list[float]]]]:
    """Every metric of every method, and of differences of average precision and the others.

    Args:
        methods: the scores of each seed, [rows]; every method has as many seeds.
        truth: [rows], 0 or 1.
        differences: pairs of methods, the first less the second.
        resamples: of rows and seeds.

    Returns:
        By method (and by "first - second") and metric: the mean over the seeds, and the bounds of
        its 95 % interval.
    """
    label = truth.astype(np.float64)
    ranked = {
        name: [Ranked(np.asarray(each, np.float64), label) for each in seeds]
        for name, seeds in methods.items()
    }
    seeds = min(map(len, ranked.values()))
    rng = np.random.default_rng(RESAMPLE_SEED)
    every = np.ones(len(label))
    plans = [(every, np.arange(seeds))]
    while len(plans) <= resamples:
        weight = np.bincount(rng.integers(0, len(label), len(label)), minlength=len(label))
        if 0 < (weight * label).sum() < weight.sum():
            plans.append((weight.astype(np.float64), rng.integers(0, seeds, seeds)))
    values = {name: np.empty((len(plans), len(METRICS))) for name in ranked}
    for at, (weight, taken) in enumerate(plans):
        often = np.bincount(taken, minlength=seeds) / seeds
        for name, each in ranked.items():
            found = np.array(
                [
                    [times * each[seed].metrics(weight)[metric] for metric in METRICS]
                    for seed, times in enumerate(often)
                    if times
                ]
            )
            values[name][at] = found.sum(axis=0)
    for first, second in differences:
        values[f"{first} - {second}"] = values[first] - values[second]
    told = {name: _told(each) for name, each in values.items()}
    pairs = {f"{first} - {second}" for first, second in differences}
    return (
        {name: each for name, each in told.items() if name not in pairs},
        {name: each for name, each in told.items() if name in pairs},
    )


def _told(values: NDArray[np.float64]) -> dict[str, list[float]]:
    low, high = np.quantile(values[1:], [LOW, HIGH], axis=0)
    return {
        metric: [round(float(each), 4) for each in (values[0, at], low[at], high[at])]
        for at, metric in enumerate(METRICS)
    }
