"""A learner for tests of estimators that learn a table of their own: what it learns is the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascade_client.client import Client
from cascade_client.testing.server import FakeServer

TABLE = "learnt"


class FakeLearner:
    """For the `learner` of `cascade_client.sklearn`'s estimators, in the place of minutes of
    training.

    >>> CascadeImputer(learner=FakeLearner(), random_state=0).fit_transform(frame)

    Holes are filled with cells of other rows of `fit`, one row after another.
    """

    def __repr__(self) -> str:
        """As it is typed: tests that are made for each estimator are named by it."""
        return "FakeLearner()"

    def learn(self, rows: Any, classes: Sequence[str], seed: int) -> FakeLearnt:
        """A table of the rows of a pyarrow Table."""
        return FakeLearnt(rows.to_pylist())


class FakeLearnt:
    """A table that a `FakeServer` answers of.

    Args:
        rows: what was learnt.
    """

    table = TABLE

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows
        self._client: Client | None = None

    def client(self) -> Client:
        """A client of the fake server."""
        if self._client is None:
            self._client = FakeServer({TABLE: self._rows}).client()
        return self._client

    def __getstate__(self) -> dict[str, Any]:
        return {"_rows": self._rows, "_client": None}
