"""The detector that is given differences of numbers: it sees what the plain one does not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from cascade_distill.fidelity import metrics
from cascade_distill.fidelity.differences import (
    MOST_DIFFERENCES,
    chosen_pairs,
    with_differences,
)
from cascade_distill.fidelity.metric_arrays import to_matrix

from tests.distill.made_up import schema_of

ROWS = 3000


def ledger(seed: int, exact: bool) -> pd.DataFrame:
    """A third of the amounts is the balance, to the cent or to within some hundreds of cents."""
    rng = np.random.default_rng(seed)
    before = np.round(np.exp(rng.normal(8, 1, ROWS)), 2)
    near = before if exact else before + np.round(rng.normal(0, 3, ROWS), 2)
    amount = np.where(rng.random(ROWS) < 0.33, near, np.round(np.exp(rng.normal(8, 1, ROWS)), 2))
    return pd.DataFrame({"before": before, "amount": amount, "kind": rng.choice(["a", "b"], ROWS)})


REAL, TWIN, NEAR = ledger(1, True), ledger(2, True), ledger(3, False)
SCHEMA = schema_of(REAL, TWIN, NEAR)


def test_lost_equality_is_seen_in_differences_alone() -> None:
    plain = metrics.xgb_auc(REAL, NEAR, SCHEMA)
    assert plain < 0.56
    assert metrics.relational_auc(REAL, NEAR, SCHEMA) > plain + 0.05


def test_the_same_distribution_is_chance() -> None:
    """Tolerance: three standard errors of .0075 of an AUC of 6,000 rows, and some of the folds."""
    assert metrics.relational_auc(REAL, TWIN, SCHEMA) == pytest.approx(0.5, abs=0.03)


def wide(columns: int) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    table = pd.DataFrame(
        rng.integers(1, 10**6, (500, columns)), columns=[f"c{at}" for at in range(columns)]
    )
    table["copy"] = np.where(rng.random(500) < 0.05, table["c7"], rng.integers(1, 10**6, 500))
    table["close"] = table["c9"] + rng.integers(0, 1000, 500)
    return table


def test_of_a_wide_table_those_that_say_most_are_taken() -> None:
    table = wide(40)
    schema = schema_of(table)
    pairs = chosen_pairs(to_matrix(table, schema), schema)
    assert len(pairs) == len(set(pairs)) == MOST_DIFFERENCES
    assert {(7, 40), (9, 41)} <= set(pairs)


def test_of_few_numbers_all_are_taken_and_categories_none() -> None:
    table = wide(10).assign(flag=[0, 1] * 250, text=["x", "y"] * 250)
    schema = schema_of(table)
    assert len(chosen_pairs(to_matrix(table, schema), schema)) == 12 * 11 // 2


def test_dates_are_subtracted_from_dates() -> None:
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(100) % 40, "D")
    table = pd.DataFrame({"a": day, "n": np.arange(100) % 30, "b": day[::-1]})
    schema = schema_of(table)
    assert chosen_pairs(to_matrix(table, schema), schema) == [(0, 2)]


def test_null_has_no_difference_and_cents_have_no_rounding() -> None:
    table = pd.DataFrame({"a": [0.3, 0.7, None, 0.5], "b": [0.1, 0.5, 0.2, 0.3]})
    schema = schema_of(table)
    found = with_differences(to_matrix(table, schema), [(0, 1)])[:, 2]
    assert np.isnan(found[2])
    assert len(set(found[[0, 1, 3]])) == 1
