"""Tables as a scoring team has them: rows to learn from, later rows to be scored, a rare class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from cascade_tables import Frame, Schema, infer_schema

from benchmarks.learning.utility.transactions import with_history
from benchmarks.tables import BUNDLED, BenchmarkTable, named, whole

# Rows that are scored, at most: drawn from those held out, with a seed of their own.
MOST_SCORED, SCORED_SEED = 6_000, 20_093


@dataclass(frozen=True)
class Problem:
    """A table, and what a model is to tell of its rows.

    Attributes:
        table: its rows, as they were learnt from and held out.
        schema: of its columns; those that were left out of it are no features either.
        train, test: the same rows as frames; of those held out some.
        target: the column that a model predicts.
        positive: the value of it that counts as 1, which is the rarer one.
        split: in words, how rows held out were told from those learnt from.
    """

    table: BenchmarkTable
    schema: Schema
    train: pd.DataFrame
    test: pd.DataFrame
    target: str
    positive: Any
    split: str

    @property
    def features(self) -> list[str]:
        """What a model is given, in order."""
        return [name for name in self.schema.names if name != self.target]

    def truth(self, rows: pd.DataFrame) -> np.ndarray:
        """int64 [rows]: 1 for the rarer class."""
        return (rows[self.target] == self.positive).to_numpy(np.int64)


def _by_year(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Claims of 1994 and 1995, and of 1996. The row number goes, and the year itself, of which
    nothing can be learnt from the years before."""
    rest = frame.drop(columns=["PolicyNumber", "Year"])
    later = (frame["Year"] == 1996).to_numpy()
    return rest[~later], rest[later]


def _by_seconds(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first four fifths of two days, and the last one; without the time itself."""
    rest = frame.sort_values("Time", kind="stable").drop(columns="Time")
    kept = round(len(rest) * 0.8)
    return rest[:kept], rest[kept:]


# Tables that have time, how they are split by it, and in words.
BY_TIME: Mapping[str, tuple[Callable[[pd.DataFrame], tuple[pd.DataFrame, pd.DataFrame]], str]] = {
    "vehicle_claim_fraud": (_by_year, "learnt from 1994 and 1995, scored in 1996"),
    "ulb_creditcard_subset": (_by_seconds, "scored in the last fifth of two days"),
    "handbook_transactions": (
        with_history,
        "learnt from a week, scored in the week after the next",
    ),
}
TABLES = (*BUNDLED, *BY_TIME)


def problem(name: str, most_scored: int = MOST_SCORED) -> Problem:
    """A table by name.

    Raises:
        TableMissing: it is not bundled, and not found; says where it was looked for.
    """
    split = "the bundled one, by no time"
    if name in BY_TIME:
        divide, split = BY_TIME[name]
        frame, target = whole(name)
        train, test = divide(frame.to_pandas())
        parts = (Frame.from_pandas(part.reset_index(drop=True)) for part in (train, test))
        table = BenchmarkTable(name, *parts, target, {})
    else:
        table = named(name)
    return of_table(table, split, most_scored)


def of_table(table: BenchmarkTable, split: str, most_scored: int = MOST_SCORED) -> Problem:
    """The problem that a table's target makes."""
    schema = infer_schema(table.train, table.overrides, rule=table.rule)
    test = table.test
    if len(test) > most_scored:
        taken = np.random.default_rng(SCORED_SEED).permutation(len(test))[:most_scored]
        test = test.take(np.sort(taken))
    target = table.target
    if target is None:
        raise ValueError(f"{table.name} has no target to predict")
    train = table.train.to_pandas()
    positive = train[target].value_counts().index[-1]
    return Problem(table, schema, train, test.to_pandas(), target, positive, split)
