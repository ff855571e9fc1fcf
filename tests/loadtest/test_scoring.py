"""Transactions of which some features are late."""

from __future__ import annotations

import random

import pytest
from cascade_loadtest.scoring import SITUATIONS, Situation, Transactions

ROWS = [{f"f{n}": 100 * row + n for n in range(20)} | {"fraud": row % 2} for row in range(50)]


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda each: each.name)
def test_what_is_late_and_what_is_known_make_a_row(situation: Situation) -> None:
    stream = Transactions(ROWS, "fraud", random.Random(1))
    counts = set()
    for _ in range(300):
        asked = stream.next(situation)
        assert "fraud" not in asked.known
        assert "fraud" not in asked.late
        assert sorted([*asked.known, *asked.late]) == sorted(ROWS[0].keys() - {"fraud"})
        row = next(
            row for row in ROWS if row["f0"] // 100 == next(iter(asked.known.values())) // 100
        )
        assert all(row[name] == value for name, value in asked.known.items())
        counts.add(len(asked.late))
    assert counts == set(range(situation.fewest, situation.most + 1))


def test_something_is_always_known_of_a_narrow_table() -> None:
    rows = [{"a": 1, "b": 2, "fraud": 0}]
    stream = Transactions(rows, "fraud", random.Random(0))
    wide = Situation("wide", 1, fewest=8, most=12, draws=1, deadline=1.0)
    asked = stream.next(wide)
    assert (len(asked.known), len(asked.late)) == (1, 1)
