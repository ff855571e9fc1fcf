"""What is said of rare categories before anything is learnt."""

from __future__ import annotations

import numpy as np
import pytest
from cascade_tables import ColumnData, ColumnOverride, Frame, Rare, RareRule, infer_schema
from cascade_tables.categories import describe_foldings, foldings

# 200 rows: 120 and 40 of the frequent ones, 20 + 10 of what folds and is answered, 4 + 4 + 2 rare.
CITIES = ["Rome", "Oslo", "Bonn", "Lyon", "Ada", "Alan", "Grace"]
VALUES = np.repeat(np.array(CITIES, object), [120, 40, 20, 10, 4, 4, 2])
LABEL = "rare categories:\n  city: "
HINT = "rare and min_count in the file of --schema say what becomes of them"


def said(override: ColumnOverride, rule: RareRule | None = None) -> str:
    frame = Frame({"city": ColumnData(VALUES, np.zeros(len(VALUES), bool))})
    schema = infer_schema(frame, {"city": override}, rule=rule)
    return describe_foldings(foldings(schema, frame))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            ColumnOverride(max_categories=3),
            "5 rare categories (20.0% of rows) learnt as '(other)'; answers have one of 2 of them, "
            "by how often each was seen; 3 in fewer than 5 rows (5.0% of rows) are in no answer "
            "and no release",
        ),
        (
            ColumnOverride(max_categories=3, min_count=2),
            "5 rare categories (20.0% of rows) learnt as '(other)'; answers have one of 5 of them, "
            "by how often each was seen",
        ),
        (
            ColumnOverride(max_categories=6, min_count=1),
            "2 rare categories (3.0% of rows) learnt as '(other)'; answers have one of 2 of them, "
            "by how often each was seen",
        ),
        (
            ColumnOverride(min_count=4, other="elsewhere"),
            "1 rare category (1.0% of rows) learnt as 'elsewhere'; each in fewer than 4 rows, so "
            "that answers have 'elsewhere' and no release has their names",
        ),
        (
            ColumnOverride(max_categories=3, rare=Rare.KEEP_FOLDED),
            "5 rare categories (20.0% of rows) learnt as '(other)'; answers have '(other)' (rare: "
            "keep_folded), no release has their names",
        ),
    ],
)
def test_each_column_that_has_some_is_told_of(override: ColumnOverride, expected: str) -> None:
    assert said(override) == f"\n{LABEL}{expected}\n{HINT}"


def test_without_any_nothing_is_said() -> None:
    assert said(ColumnOverride(min_count=1)) == ""
    assert said(ColumnOverride(other="elsewhere"), RareRule(min_count=1)) == ""


def test_more_than_there_are_tokens_for_are_learnt_in_groups() -> None:
    values = np.repeat(np.array([f"shop {i}" for i in range(20)], object), 10)
    frame = Frame({"shop": ColumnData(values, np.zeros(200, bool))})
    schema = infer_schema(frame, {"shop": ColumnOverride(max_categories=12)})
    assert describe_foldings(foldings(schema, frame)).startswith(
        "\nrare categories:\n  shop: 11 rare categories (55.0% of rows) learnt in up to 3 groups "
        "that are alike; answers have one of 11 of them"
    )
