"""A learner for tests of estimators that train a table: it only stores the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascade_client.client import Client
from cascade_client.testing.server import FakeServer

TABLE = "learnt"


class FakeLearner:
    """A `learner` for `cascade_client.sklearn`'s estimators that avoids minutes of training.

    >>> CascadeImputer(learner=FakeLearner(), random_state=0).fit_transform(frame)

    Holes are filled with cells of the rows given to `fit`, one row after another.
    """

    def __repr__(self) -> str:
        """Return the expression that creates it: generated tests of estimators use it in their
        names.
        """
        return "FakeLearner()"

    def learn(self, rows: Any, classes: Sequence[str], seed: int) -> FakeLearnt:
        """Return a table of the rows of a pyarrow Table."""
        return FakeLearnt(rows.to_pylist())


class FakeLearnt:
    """A table served by a `FakeServer`.

    Args:
        rows: the training rows.
    """

    table = TABLE

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows
        self._client: Client | None = None

    def client(self) -> Client:
        """Return a client of the fake server."""
        if self._client is None:
            self._client = FakeServer({TABLE: self._rows}).client()
        return self._client

    def __getstate__(self) -> dict[str, Any]:
        return {"_rows": self._rows, "_client": None}
