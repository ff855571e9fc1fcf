"""The gate that a plan must pass before its release: equal noise gives equal rows.

The gate measures the same rows in two independent ways. First, it compares row by row the tokens
that two runtimes draw from equal noise: at least 99.5 % of rows must be equal in every token.
Second, a detector learns to tell rows of one runtime from rows of the other, drawn from different
noise, and must do no better than chance, within the statistical error of so many rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_server.errors import PlanError

Tokens = NDArray[np.int32]
# (features [n, T], labels [n], features [m, T]) -> scores [m]: trains, then scores.
Detector = Callable[[Tokens, NDArray[np.int64], Tokens], NDArray[np.float64]]

ROWS = 100_000
LEAST_EQUAL = 0.995
# Standard errors of an AUC of .5; chance passes in 999 of 1,000 comparisons.
MOST_ERRORS = 3.1


@dataclass(frozen=True)
class Parity:
    """How a candidate compares with the reference.

    Attributes:
        rows: how many were compared.
        equal: share of rows whose tokens are all equal.
        auc: the detector's AUC on rows it has not seen.
        error: standard error of an AUC of .5 for so many rows.
    """

    rows: int
    equal: float
    auc: float
    error: float

    @property
    def failures(self) -> tuple[str, ...]:
        """List what is wrong; empty if the plan may be released."""
        found = []
        if self.equal < LEAST_EQUAL:
            found.append(
                f"{100 * self.equal:.2f} % of {self.rows:,} rows are equal; "
                f"at least {100 * LEAST_EQUAL:g} % must be"
            )
        if self.auc > 0.5 + MOST_ERRORS * self.error:
            found.append(
                f"a detector tells the runtimes apart: its AUC is {self.auc:.4f}; "
                f"at most {0.5 + MOST_ERRORS * self.error:.4f} is chance"
            )
        return tuple(found)

    @property
    def passed(self) -> bool:
        return not self.failures

    def figures(self) -> Mapping[str, float]:
        """Return the gate's figures, for the stamp beside the plan."""
        return {
            "rows": self.rows,
            "equal": round(self.equal, 6),
            "auc": round(self.auc, 4),
            "auc_error": round(self.error, 4),
        }


def compare(reference: Tokens, candidate: Tokens, detector: Detector) -> Parity:
    """Compare the rows that two runtimes drew from equal noise.

    Args:
        reference, candidate: int32 [n, T]; equal row numbers have equal noise.
        detector: trains on half of its rows; see `xgboost_detector`.
    """
    rows = len(reference)
    equal = float((reference == candidate).all(axis=1).mean())
    # The first half of one and the second half of the other: no two rows share their noise.
    half = rows // 2
    ours, theirs = reference[:half], candidate[half : 2 * half]
    learn = half // 2
    features = np.concatenate([ours[:learn], theirs[:learn]])
    labels = np.repeat(np.array([0, 1]), learn)
    unseen = [ours[learn:], theirs[learn:]]
    scores = detector(features, labels, np.concatenate(unseen))
    negatives, positives = scores[: len(unseen[0])], scores[len(unseen[0]) :]
    value = auc(negatives, positives)
    return Parity(rows, equal, value, auc_error(len(negatives), len(positives)))


def auc(negatives: NDArray[np.float64], positives: NDArray[np.float64]) -> float:
    """Compute the area under the ROC curve, ties counting half (the Mann-Whitney statistic)."""
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, "left")
    ties = np.searchsorted(ordered, positives, "right") - below
    return float((below + 0.5 * ties).mean() / len(negatives))


def auc_error(negatives: int, positives: int) -> float:
    """Compute the standard error of the AUC of random scores (Hanley and McNeil, 1982)."""
    return math.sqrt((negatives + positives + 1) / (12 * negatives * positives))


def xgboost_detector(threads: int = 0) -> Detector:
    """Return a detector of gradient-boosted trees over the tokens.

    Raises:
        PlanError: xgboost is not installed; says how to get it.
    """
    try:
        import xgboost
    except ModuleNotFoundError as exc:
        raise PlanError(
            "the parity gate's detector needs the package xgboost-cpu, which is not installed; "
            "run: pip install 'cascade-synthesis[gpu]'"
        ) from exc

    def detect(features: Tokens, labels: NDArray[np.int64], unseen: Tokens) -> NDArray[np.float64]:
        settings = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.3, "seed": 0}
        if threads:
            settings["nthread"] = threads
        learnt = xgboost.train(settings, xgboost.DMatrix(features, label=labels), 60)
        return np.asarray(learnt.predict(xgboost.DMatrix(unseen)), np.float64)

    return detect
