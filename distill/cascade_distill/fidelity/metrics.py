"""Distance of synthetic rows from real ones, as pure functions of tables and their schema.

Every figure is deterministic and runs on one thread by default. All settings are here, fixed for
every table, so that figures of different models, tables and times can be compared.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from cascade_tables import Schema
from numpy.typing import NDArray

from cascade_distill.fidelity.differences import chosen_pairs, with_differences
from cascade_distill.fidelity.metric_arrays import Matrix, is_discrete, one_hot, to_matrix

# XGBoost settings of the detectors and of the predictor, on top of its defaults. Categories are
# codes in order of frequency; NULL has its own branch direction.
XGBOOST = {"n_estimators": 200, "max_depth": 6, "learning_rate": 0.1, "tree_method": "hist"}
XGBOOST_FOLDS = 5
# As SDMetrics' LogisticDetection.
LOGISTIC_FOLDS = 3
# Synthetic rows whose nearest real neighbour is looked up: the share's standard error is .005.
NEIGHBOUR_ROWS = 10_000
# Squared distances that differ by less are equal; this is the rounding error of the matrix product.
SAME_DISTANCE = 1e-9


class Quality(NamedTuple):
    """Mean errors in per cent, where 0 is perfect; see `quality`."""

    shape_err_pct: float
    trend_err_pct: float
    trend_all_err_pct: float


def quality(real: pd.DataFrame, synthetic: pd.DataFrame, schema: Schema) -> Quality:
    """Compute SDMetrics' QualityReport as errors: 100 · (1 − score) of Column Shapes and Pair
    Trends.

    Trend covers the pairs that depend on each other in the real table (SDMetrics' default:
    correlation above .4, Cramér's V above .3). "trend_all" covers every pair, as SDMetrics did
    before it had thresholds, so it compares with figures published then. If no pair depends, they
    are the same.

    Discrete columns are `categorical`, with NULL as a category (SDMetrics would leave NULLs out of
    Shapes); other numbers are `numerical`. Date-times count as numbers, which gives the same scores
    as SDMetrics' `datetime`, since SDMetrics converts them to numbers too. All rows are used,
    without sampling. A column or pair that cannot be scored, such as a constant synthetic column,
    scores 0.
    """
    tables = _scored(real, schema), _scored(synthetic, schema)
    kinds = {c.name: "categorical" if is_discrete(c) else "numerical" for c in schema.columns}
    metadata = {"columns": {name: {"sdtype": kind} for name, kind in kinds.items()}}
    details = _report(*tables, metadata, dependent_only=False)
    shape, trend_all = (_error(scores) for scores in details)
    strong = _report(*tables, metadata, dependent_only=True)[1]
    return Quality(shape, _error(strong) if len(strong) else trend_all, trend_all)


def _report(
    real: pd.DataFrame, synthetic: pd.DataFrame, metadata: dict[str, Any], dependent_only: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores of the columns and of the pairs that count."""
    with warnings.catch_warnings():
        # SDMetrics announces its own move, and warns of every constant column.
        warnings.simplefilter("ignore")
        from sdmetrics.reports.single_table.quality_report import QualityReport

        report = QualityReport()
        report.num_rows_subsample = None
        if not dependent_only:
            report.real_correlation_threshold = 0
            report.real_association_threshold = 0
        report.generate(real, synthetic, metadata, verbose=False)
    shapes, trends = (report.get_details(what) for what in ("Column Shapes", "Column Pair Trends"))
    counts = trends["Meets Threshold?"].fillna(True).to_numpy(bool)
    return shapes["Score"].to_numpy(np.float64), trends["Score"].to_numpy(np.float64)[counts]


def _error(scores: NDArray[np.float64]) -> float:
    return 100 * (1 - float(np.nan_to_num(scores).mean())) if len(scores) else 0.0


def _scored(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    matrix = to_matrix(frame, schema)
    return pd.DataFrame(
        {
            column.name: np.nan_to_num(matrix[:, position], nan=-1.0).astype(np.int64)
            if is_discrete(column)
            else matrix[:, position]
            for position, column in enumerate(schema.columns)
        }
    )


def c2st(auc: float) -> float:
    """Return the classifier two-sample test score, 1 − max(0, 2·AUC − 1); 1: indistinguishable from
    real.
    """
    return 1 - max(0.0, 2 * auc - 1)


def xgb_auc(
    real: pd.DataFrame, synthetic: pd.DataFrame, schema: Schema, seed: int = 0, threads: int = 1
) -> float:
    """Measure how well XGBoost distinguishes synthetic from real rows: out-of-fold AUC, mean of
    five folds.

    .5 is chance. Below it, synthetic rows are closer to single real rows than real rows are to each
    other: a row's copy in the training folds carries the other label. Copied rows therefore look
    good here; compare with held-out rows too, and see `dcr_share`. The larger table is sampled down
    to the size of the smaller.
    """
    return _auc(*_labelled(real, synthetic, schema, seed), seed, threads)


def relational_auc(
    real: pd.DataFrame, synthetic: pd.DataFrame, schema: Schema, seed: int = 0, threads: int = 1
) -> float:
    """Compute `xgb_auc` with the same detector and rows, but also with the differences of numbers.

    It sees what trees cannot: that two numbers are equal in some rows, or close to each other. A
    model that is trained on the rows may depend on exactly that. For a table of more than 12
    numbers, the 66 most informative differences are used; see `chosen_pairs`.
    """
    features, label = _labelled(real, synthetic, schema, seed)
    pairs = chosen_pairs(features[label == 1], schema)
    return _auc(with_differences(features, pairs), label, seed, threads)


def _auc(features: Matrix, label: NDArray[np.int64], seed: int, threads: int) -> float:
    """Return the out-of-fold AUC of the XGBoost detector, mean of five folds."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(XGBOOST_FOLDS, shuffle=True, random_state=seed)
    scores = []
    for fit, score in folds.split(features, label):
        model = _xgboost("XGBClassifier", threads)
        model.fit(features[fit], label[fit])
        scores.append(roc_auc_score(label[score], model.predict_proba(features[score])[:, 1]))
    return float(np.mean(scores))


def lr_c2st(real: pd.DataFrame, synthetic: pd.DataFrame, schema: Schema, seed: int = 0) -> float:
    """Measure how badly logistic regression distinguishes synthetic from real rows; 1: not at all.

    The score of SDMetrics' LogisticDetection: 1 − mean of max(.5, AUC)·2 − 1 over three folds.
    Unlike SDMetrics, folds are seeded and sizes equal, NULL is a value of its own, and features are
    standardised to mean 0 and variance 1, so that the solver converges.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    features, label = _labelled(real, synthetic, schema, seed)
    features = one_hot(features, schema)[0]
    spread = features.std(axis=0)
    features = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    folds = StratifiedKFold(LOGISTIC_FOLDS, shuffle=True, random_state=seed)
    scores = []
    for fit, score in folds.split(features, label):
        model = LogisticRegression(solver="lbfgs", max_iter=1000)
        model.fit(features[fit], label[fit])
        auc = roc_auc_score(label[score], model.predict_proba(features[score])[:, 1])
        scores.append(c2st(float(auc)))
    return float(np.mean(scores))


def mle_key(schema: Schema, target: str) -> str:
    """Return the name of the figure that `mle` computes for this target: "mle_auc" if it is
    discrete, else "mle_r2".

    Raises:
        UnknownColumn: the schema has no such column.
    """
    return "mle_auc" if is_discrete(schema[target]) else "mle_r2"


def mle(
    synthetic: pd.DataFrame,
    real_test: pd.DataFrame,
    schema: Schema,
    target: str,
    threads: int = 1,
) -> float:
    """Measure machine-learning efficacy: XGBoost learns `target` from synthetic rows and predicts
    real ones.

    Returns the AUC for a discrete target (with more than two classes: one against the rest,
    weighted by their share), else R²; see `mle_key`. Rows whose target is NULL are left out. Only
    classes among the synthetic rows count as predicted; with fewer than two the AUC is .5.

    Raises:
        UnknownColumn: the schema has no such column.
    """
    from sklearn.metrics import r2_score

    position = schema.names.index(schema[target].name)
    fit, score = (
        table[~np.isnan(table[:, position])]
        for table in (to_matrix(synthetic, schema), to_matrix(real_test, schema))
    )
    x, x_test = np.delete(fit, position, axis=1), np.delete(score, position, axis=1)
    if not is_discrete(schema[target]):
        model = _xgboost("XGBRegressor", threads)
        model.fit(x, fit[:, position])
        return float(r2_score(score[:, position], model.predict(x_test)))
    classes, label = np.unique(fit[:, position], return_inverse=True)
    if len(classes) < 2:
        return 0.5
    model = _xgboost("XGBClassifier", threads)
    model.fit(x, label)
    return _weighted_auc(score[:, position], classes, model.predict_proba(x_test))


def _weighted_auc(truth: Matrix, classes: Matrix, probability: NDArray[Any]) -> float:
    from sklearn.metrics import roc_auc_score

    if len(classes) == 2:
        # Both classes have the same AUC.
        classes, probability = classes[1:], probability[:, 1:]
    total = weight = 0.0
    for value, column in zip(classes, probability.T, strict=True):
        share = float((truth == value).mean())
        if 0 < share < 1:
            total += share * float(roc_auc_score(truth == value, column))
            weight += share
    return total / weight if weight else 0.5


def dcr_share(
    train: pd.DataFrame,
    holdout: pd.DataFrame,
    synthetic: pd.DataFrame,
    schema: Schema,
    seed: int = 0,
) -> float:
    """Compute the distance-to-closest-record share.

    This is the share of synthetic rows whose nearest real row is a training row rather than one of
    equally many held-out rows. .5 is ideal: the training rows are as far as any others; 1: every
    row is a copy. If `train` and `holdout` have different sizes, all rows are used and the odds are
    scaled to equal sizes, so that .5 and 1 keep their meaning. Ties count as chance. The distance
    is Euclidean: 1 between different categories (NULL is one), and for numbers their difference in
    units of the range of `train`. At most 10,000 random synthetic rows are looked up.
    """
    rng = np.random.default_rng(seed)
    queries, learnt, unseen = (to_matrix(table, schema) for table in (synthetic, train, holdout))
    queries = _some(queries, NEIGHBOUR_ROWS, rng)
    features, indicator = one_hot(np.concatenate([queries, learnt, unseen]), schema)
    ends = np.cumsum([len(queries), len(learnt)])
    span = np.ptp(features[ends[0] : ends[1]], axis=0)
    # Two different categories differ in two indicators.
    features /= np.where(indicator, np.sqrt(2.0), np.where(span > 0, span, 1.0))
    asked, known, other = np.split(features, ends)
    to_known, to_other = _nearest(asked, known), _nearest(asked, other)
    chance = len(known) / (len(known) + len(other))
    tie = np.abs(to_known - to_other) <= SAME_DISTANCE
    share = float(np.where(tie, chance, to_known < to_other).mean())
    odds_known, odds_other = share * len(other), (1 - share) * len(known)
    return odds_known / (odds_known + odds_other)


def _nearest(queries: Matrix, rows: Matrix) -> Matrix:
    """Return the squared Euclidean distance of each query [q, D] to the nearest row [n, D]."""
    length = (rows**2).sum(axis=1)
    out = np.empty(len(queries))
    for begin in range(0, len(queries), 500):
        part = queries[begin : begin + 500]
        product = part @ rows.T
        product *= -2
        product += length
        out[begin : begin + 500] = product.min(axis=1) + (part**2).sum(axis=1)
    return out


def _some(matrix: Matrix, rows: int, rng: np.random.Generator) -> Matrix:
    """Return at most `rows` random rows, in their order."""
    if len(matrix) <= rows:
        return matrix
    return matrix[np.sort(rng.choice(len(matrix), rows, replace=False))]


def _labelled(
    real: pd.DataFrame, synthetic: pd.DataFrame, schema: Schema, seed: int
) -> tuple[Matrix, NDArray[np.int64]]:
    """Return equally many rows of both tables, and labels that are 1 for the real ones."""
    rng = np.random.default_rng(seed)
    rows = min(len(real), len(synthetic))
    parts = [_some(to_matrix(table, schema), rows, rng) for table in (real, synthetic)]
    return np.concatenate(parts), np.repeat(np.array([1, 0]), rows)


def _xgboost(kind: str, threads: int) -> Any:
    import xgboost

    return getattr(xgboost, kind)(**XGBOOST, n_jobs=threads, random_state=0, verbosity=0)
