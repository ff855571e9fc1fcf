"""Made-up ledgers hold what they say was planted, and what is measured on them is right."""

from __future__ import annotations

import numpy as np
import pytest
from cascade_tables import Codec, find_relations, infer_schema, measure_formula

from benchmarks.learning.ledgers import MAKERS, ledger
from benchmarks.learning.relations import Measured, completed, summary


@pytest.mark.parametrize("name", MAKERS)
def test_what_was_planted_is_found(name: str) -> None:
    table = ledger(name)
    schema = infer_schema(table.train)
    found = find_relations(table.train, schema, held_out=table.test)
    assert {each.key for each in table.planted} <= {each.formula.key for each in found}
    # Not much more: equalities that follow where another amount is zero.
    assert len(found) <= len(table.planted) + 4


@pytest.mark.parametrize("name", MAKERS)
def test_every_call_makes_the_same_rows_and_no_two_ledgers_share_a_seed(name: str) -> None:
    first, again = (ledger(name).train.to_pandas() for _ in range(2))
    assert first.equals(again)
    assert len({seed for _, seed in MAKERS.values()}) == len(MAKERS)


class Nothing:
    """A tier that draws token 0 for all that is not given."""

    def complete(
        self, tokens: np.ndarray, observed: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        del rng
        return np.where(observed, tokens, 1).astype(np.int32)


def test_what_is_given_comes_back_as_it_was() -> None:
    table = ledger("claims")
    codec = Codec.fit(infer_schema(table.train), table.train)
    everything = completed(Nothing(), codec, table.train, 500, 1.0)
    total = measure_formula(table.planted[0], 2, everything)
    assert total.violations == 0
    none = completed(Nothing(), codec, table.train, 500, 0.0)
    assert measure_formula(table.planted[0], 2, none).violations > 400


def test_the_worst_gap_is_that_of_drawn_rows() -> None:
    shares = {"real": 0.4, "held_out": 0.39, "student": 0.38, "student_given": 0.1}
    counts = {"real": 0, "held_out": 0, "student": 3, "student_given": 4}
    found = summary({"made": Measured({"a = b": shares}, 1, counts, ["b = c"])})
    assert found["worst_gap_points"] == 30
    assert found["held_out_gap_points"] == 1
    assert found["violations"] == 7
    assert summary({"made": Measured({"a = b": shares}, 0, counts)})["violations"] is None
    assert found["missed"] == 1
    real = {"real": 0.4, "held_out": 0.39}
    assert summary({"made": Measured({"a = b": real})})["worst_gap_points"] is None
