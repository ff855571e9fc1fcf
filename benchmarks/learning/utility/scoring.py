"""The scoring model, XGBoost: a table's rows as its numbers, how it learns, how it scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from cascade_tables import Schema
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

# Slow learning of small trees, each from a part of the rows, which is what a seed changes. Of
# credit it has the average precision of the best that were tried (.57).
XGBOOST: dict[str, Any] = {
    "n_estimators": 200,
    "max_depth": 5,
    "learning_rate": 0.05,
    "subsample": 0.8,
    "tree_method": "hist",
    "enable_categorical": True,
    "verbosity": 0,
}


class Encoding:
    """Features as float32: numbers as they are, categories as codes, NULL and new ones as NaN.

    Args:
        schema: of the table.
        features: columns, in the order of the matrix.
        train: rows whose categories there are; the most frequent has the first code.
    """

    def __init__(self, schema: Schema, features: list[str], train: pd.DataFrame) -> None:
        self.features = features
        self.categories: dict[str, dict[Any, int]] = {
            name: {value: code for code, value in enumerate(train[name].value_counts().index)}
            for name in features
            if schema[name].kind == "categorical"
        }

    @property
    def types(self) -> list[str]:
        """XGBoost's types of the features: "c" is a category, "q" a number."""
        return ["c" if name in self.categories else "q" for name in self.features]

    def column(self, name: str, values: pd.Series) -> Matrix:
        """One feature as numbers, [rows]."""
        if name in self.categories:
            return values.map(self.categories[name]).to_numpy(np.float32, na_value=np.nan)
        if values.dtype.kind == "M":
            values = values.astype("int64") / 1e6
        return values.to_numpy(np.float32, na_value=np.nan)

    def matrix(self, rows: pd.DataFrame) -> Matrix:
        """float32 [rows, features]."""
        return np.column_stack([self.column(name, rows[name]) for name in self.features])


def learn(
    features: Matrix,
    truth: NDArray[np.int64],
    types: list[str],
    seed: int,
    threads: int = 1,
    **more: Any,
) -> Any:
    """An XGBClassifier of some rows; `more` are parameters of it instead of, or beside, XGBOOST."""
    from xgboost import XGBClassifier

    parameters = XGBOOST | more
    model = XGBClassifier(**parameters, feature_types=types, random_state=seed, n_jobs=threads)
    return model.fit(features, truth)


def score(model: Any, features: Matrix) -> NDArray[np.float32]:
    """What a model says the chance of the rarer class is, [rows]."""
    scores: NDArray[np.float32] = model.predict_proba(features)[:, 1]
    return scores


def gains(model: Any, features: int) -> NDArray[np.float64]:
    """What the splits by each feature gain a model in all, [features]."""
    found = model.get_booster().get_score(importance_type="total_gain")
    return np.array([found.get(f"f{at}", 0.0) for at in range(features)])
