"""The scoring model: XGBoost, learnt from the bundled rows of credit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from xgboost import XGBClassifier

FOLDER = Path(__file__).resolve().parent.parent / "credit"
TABLE, TARGET = "credit", "default_payment_next_month"
Row = Mapping[str, Any]


def bundled(part: str) -> list[dict[str, Any]]:
    """Rows of "train" or "test"; both come with the repository."""
    rows: list[dict[str, Any]] = pq.read_table(FOLDER / f"{part}.parquet").to_pylist()
    return rows


class ScoringModel:
    """The chance that a client will not pay next month.

    Args:
        rows: to learn from, each with all of its features and the target.
        trees: of XGBoost.
    """

    def __init__(self, rows: Sequence[Row], trees: int = 200) -> None:
        self.features = [name for name in rows[0] if name != TARGET]
        known = self.matrix(rows)
        self.medians = dict(zip(self.features, np.median(known, axis=0).tolist(), strict=True))
        self._model = XGBClassifier(
            n_estimators=trees, max_depth=5, learning_rate=0.05, subsample=0.8, random_state=0
        )
        self._model.fit(known, [row[TARGET] for row in rows])

    def matrix(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """float32 [rows, features]; NaN, which XGBoost handles in its own way, is not known."""
        values = [[row.get(name, np.nan) for name in self.features] for row in rows]
        return np.asarray(values, np.float32)  # codes such as "2" are numbers too

    def scores(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """A chance for each row."""
        return self._model.predict_proba(self.matrix(rows))[:, 1].astype(np.float64)

    def with_medians(self, row: Row) -> dict[str, Any]:
        """A row with the median in the place of every feature that it lacks."""
        return {name: row.get(name, self.medians[name]) for name in self.features}
