"""All fidelity figures of a release, each beside its noise floor.

A figure means little by itself: two samples of the same real table differ too. The floor is the
same figure with real held-out rows in place of synthetic ones.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from cascade_tables import Schema

from cascade_distill.errors import DistillError
from cascade_distill.fidelity.memorisation import EQUALITY, margins, nearest_equality
from cascade_distill.fidelity.metrics import (
    c2st,
    dcr_share,
    lr_c2st,
    mle,
    mle_key,
    quality,
    relational_auc,
    xgb_auc,
)
from cascade_distill.runs.checkpoint import write_atomic

# Part of a cached floor's name: increase it when a figure's definition changes.
DEFINITION = 2
# Fewest rows of each table: cross-validation needs some of each in every fold.
FEWEST = 20
# Random parts of the train split that a floor is averaged over.
FLOOR_SAMPLES = 3


@dataclass(frozen=True)
class Report:
    """Fidelity figures by name.

    Attributes:
        figures: means over the samples: shape_err_pct, trend_err_pct, trend_all_err_pct, xgb_auc,
            xgb_c2st, xgb_auc_heldout, xgb_c2st_heldout, relational_c2st, lr_c2st, mle_auc or mle_r2
            (with a target), dcr_share; see `metrics`; and nearest_equality, see `memorisation`. A
            floor also has nearest_equality_margin and dcr_share_margin.
        samples: the same figures of each sample; a C2ST's mean is taken over the samples' scores.
    """

    figures: Mapping[str, float]
    samples: tuple[Mapping[str, float], ...]

    @classmethod
    def of_samples(cls, samples: Sequence[Mapping[str, float]]) -> Report:
        """Return the figures of several synthetic tables, and their means."""
        names = samples[0]
        means = {name: float(np.mean([sample[name] for sample in samples])) for name in names}
        return cls(means, tuple(samples))

    def rounded(self, digits: int = 4) -> dict[str, float]:
        """Return the means, rounded for printing and storage."""
        return {name: round(value, digits) for name, value in self.figures.items()}


def evaluate(
    real_train: pd.DataFrame,
    real_test: pd.DataFrame,
    samples: Sequence[pd.DataFrame],
    schema: Schema,
    target: str | None,
    threads: int = 1,
) -> Report:
    """Compare synthetic samples with the training rows and with held-out rows.

    Args:
        real_train: training rows of the model.
        real_test: real rows held out.
        samples: synthetic tables, ideally each with as many rows as `real_train`; three or more.
        schema: of all of them.
        target: column to predict; None leaves out mle_auc.
        threads: of XGBoost.

    Raises:
        DistillError: no samples, or a table too small to compare.
        UnknownColumn: the schema lacks the target, or a table lacks a column.
    """
    if not samples:
        raise DistillError("there is no sample to evaluate; at least one is needed")
    check_rows(
        train=real_train, test=real_test, **{f"sample {i}": s for i, s in enumerate(samples)}
    )
    return Report.of_samples(
        [
            _figures(real_train, real_test, sample, schema, target, seed, threads)
            for seed, sample in enumerate(samples)
        ]
    )


def _figures(
    train: pd.DataFrame,
    test: pd.DataFrame,
    sample: pd.DataFrame,
    schema: Schema,
    target: str | None,
    seed: int,
    threads: int,
) -> dict[str, float]:
    auc = xgb_auc(train, sample, schema, seed, threads)
    heldout = xgb_auc(test, sample, schema, seed, threads)
    figures = dict(quality(train, sample, schema)._asdict())
    figures |= {"xgb_auc": auc, "xgb_c2st": c2st(auc)}
    figures |= {"xgb_auc_heldout": heldout, "xgb_c2st_heldout": c2st(heldout)}
    figures["relational_c2st"] = c2st(relational_auc(train, sample, schema, seed, threads))
    figures["lr_c2st"] = lr_c2st(train, sample, schema, seed)
    if target is not None:
        figures[mle_key(schema, target)] = mle(sample, test, schema, target, threads)
    figures["dcr_share"] = dcr_share(train, test, sample, schema, seed)
    figures[EQUALITY] = nearest_equality(train, sample, schema, seed)
    return figures


def floor(
    real_train: pd.DataFrame,
    real_test: pd.DataFrame,
    schema: Schema,
    target: str | None,
    threads: int = 1,
) -> Report:
    """Compute the noise floor: the figures of `evaluate` with real rows in place of synthetic ones.

    The test split is compared with as many random rows of the train split, three times over (a
    smaller train split with as many rows of the test split). Detection against held-out rows
    compares other random train rows with the test split. mle_auc is that of a model trained on the
    real train split, which perfect synthetic rows would match. dcr_share uses half of the test
    split as the synthetic rows and the other half as the held-out rows. nearest_equality compares
    the rows of the test split with all rows of the train split, as `evaluate` does for synthetic
    ones. The margins say how far a figure may exceed its floor; see `memorisation.margins`.

    Raises:
        DistillError: a table too small to compare.
        UnknownColumn: the schema lacks the target, or a table lacks a column.
    """
    check_rows(train=real_train, test=real_test)
    rows = min(len(real_train), len(real_test))
    fixed = (
        {}
        if target is None
        else {mle_key(schema, target): mle(real_train, real_test, schema, target, threads)}
    )
    fixed |= {EQUALITY: nearest_equality(real_train, real_test, schema)}
    fixed |= margins(len(schema.columns), len(real_train), len(real_test))
    samples = []
    for seed in range(FLOOR_SAMPLES):
        rng = np.random.default_rng(seed)
        train, other, test = (
            table.iloc[rng.permutation(len(table))[:rows]]
            for table in (real_train, real_train, real_test)
        )
        auc = xgb_auc(train, test, schema, seed, threads)
        heldout = xgb_auc(test, other, schema, seed, threads)
        figures = dict(quality(train, test, schema)._asdict())
        figures |= {"xgb_auc": auc, "xgb_c2st": c2st(auc)}
        figures |= {"xgb_auc_heldout": heldout, "xgb_c2st_heldout": c2st(heldout)}
        figures["relational_c2st"] = c2st(relational_auc(train, test, schema, seed, threads))
        figures["lr_c2st"] = lr_c2st(train, test, schema, seed)
        figures |= fixed
        half = rows // 2
        figures["dcr_share"] = dcr_share(train, test.iloc[:half], test.iloc[half:], schema, seed)
        samples.append(figures)
    return Report.of_samples(samples)


def cached_floor(
    real_train: pd.DataFrame,
    real_test: pd.DataFrame,
    schema: Schema,
    target: str | None,
    threads: int = 1,
    folder: Path | None = None,
) -> Report:
    """Return `floor` from a cache in `folder`; compute it if it is not cached.

    The cache key covers the rows, the schema, the target, and the versions of the libraries.

    Args:
        folder: of the cache; `cache_folder()` by default.
    """
    key = hashlib.sha256(
        json.dumps(
            {
                "definition": DEFINITION,
                "libraries": {name: version(name) for name in ("sdmetrics", "scikit-learn")}
                | {"xgboost": _xgboost_version()},
                "tables": [_content(table, schema) for table in (real_train, real_test)],
                "schema": schema.fingerprint,
                "target": target,
            }
        ).encode()
    ).hexdigest()
    path = (folder or cache_folder()) / f"floor-{key[:32]}.json"
    try:
        return Report.of_samples(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        pass  # not there, or damaged: made again
    report = floor(real_train, real_test, schema, target, threads)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps([dict(sample) for sample in report.samples]).encode())
    return report


def cache_folder() -> Path:
    """Return the folder that caches floors between runs: $XDG_CACHE_HOME/cascade, or
    ~/.cache/cascade.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cascade"


def _xgboost_version() -> str:
    import xgboost

    return str(xgboost.__version__)


def _content(table: pd.DataFrame, schema: Schema) -> str:
    """Return the SHA-256 of the rows of the schema's columns, in order."""
    rows = pd.util.hash_pandas_object(table[list(schema.names)], index=False)
    return hashlib.sha256(rows.to_numpy().tobytes()).hexdigest()


def check_rows(**tables: pd.DataFrame) -> None:
    """Raise DistillError, naming the table, if a table is too small to compare."""
    for name, table in tables.items():
        if len(table) < FEWEST:
            raise DistillError(
                f"the {name} table has {len(table)} rows; at least {FEWEST} are needed"
            )
