"""The file that fit leaves: given back, it decides the same."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cascade_tables import (
    ColumnOverride,
    Formula,
    Frame,
    Kind,
    Rare,
    RareRule,
    RelationOverride,
    Schema,
    Wish,
    find_relations,
    infer_schema,
    load_overrides,
    load_rare_rule,
    load_relation_overrides,
    schema_file,
)

NAMES = ["plain", "two words", 'quo"ted', "no", "2020", "a: b # c", "naïve 数", "-", "line\nbreak"]
NAMES += [
    "💶 paid",
    "\x7f\x85",
    "thin\u2009gap",
    "\u2028",
    "\ufeffbom",
    "back\\slash\t",
    "\U000e0041",
]


def table() -> Frame:
    rng = np.random.default_rng(0)
    cents = rng.integers(1, 10**7, (400, 3))
    columns: dict[str, Any] = {
        "before": cents[:, 0] / 100,
        "amount": cents[:, 1] / 100,
        "after": (cents[:, 0] - cents[:, 1]) / 100,
        "two words": np.where(rng.random(400) < 0.5, cents[:, 0] / 100, cents[:, 2] / 100),
        "id": np.arange(400),
        "label": rng.choice(["x", "y", "z"], 400),
    }
    return Frame.from_pandas(pd.DataFrame(columns))


def decided(frame: Frame, path: Path | None = None) -> Schema:
    columns = load_overrides(path) if path else {}
    relations = load_relation_overrides(path) if path else ()
    schema = infer_schema(frame, columns)
    return replace(schema, relations=find_relations(frame, schema, relations))


def test_given_back_it_decides_the_same(tmp_path: Path) -> None:
    schema = decided(table())
    path = tmp_path / "schema.yaml"
    path.write_text(schema_file(schema, "payments.csv"))
    assert decided(table(), path) == schema
    assert [str(each.formula) for each in schema.relations] == [
        "before = amount + after",
        'before = "two words"',
    ]


def test_it_is_readable(tmp_path: Path) -> None:
    text = schema_file(decided(table()), "payments.csv")
    assert "#   cascade fit payments.csv --schema THIS_FILE" in text
    assert '  "label": {kind: "categorical"}' in text
    assert '  # "id" is left out: row number: 0 to 399, each once' in text
    assert '  "before = amount + after": found  # always' in text
    assert '  "before = \\"two words\\"": found  # in ' in text


def test_what_a_person_said_is_kept(tmp_path: Path) -> None:
    columns = {
        "before": ColumnOverride(minimum=0, point_masses=(1e22, 0.5)),
        "label": ColumnOverride(drop=True),
        "id": ColumnOverride(kind=Kind.INTEGER, nullable=True),
    }
    relations = (
        RelationOverride(Formula.parse("amount = before"), Wish.REFUSED),
        RelationOverride(Formula.parse("before = after + amount"), Wish.FOUND),
    )
    schema = infer_schema(table(), columns | {"before": ColumnOverride(minimum=0)})
    path = tmp_path / "schema.yaml"
    path.write_text(schema_file(schema, "payments.csv", columns, relations))
    back = load_overrides(path)
    assert {name: back[name] for name in columns} == columns | {
        "before": replace(columns["before"], kind=Kind.CONTINUOUS)
    }
    assert load_relation_overrides(path) == relations[:1]


EVERY_KEY: dict[str, list[Any]] = {
    "kind": list(Kind),
    "drop": [True],
    "nullable": [True, False],
    "minimum": [-3, 0.5, datetime(2020, 1, 1), datetime(2020, 1, 2, 3, 4, 5, 678)],
    "maximum": [2**60, 1e300, datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=2)))],
    "point_masses": [(), (0, 9.99, 1e22)],
    "max_categories": [200],
    "other": ["(other)", "no", "💶", "2020-01-01"],
    "rare": list(Rare),
    "min_count": [1],
    "null_values": [("?", "-999", "\x85", "💶")],
    "dates": ["day_first"],
    "decimal_mark": ["comma"],
}


@pytest.mark.parametrize("key", [field.name for field in fields(ColumnOverride)])
def test_whatever_a_person_may_say_comes_back(tmp_path: Path, key: str) -> None:
    schema = infer_schema(table())
    path = tmp_path / "schema.yaml"
    for value in EVERY_KEY[key]:
        said = ColumnOverride(**{key: value})
        path.write_text(schema_file(schema, "payments.csv", {"label": said}), "utf-8")
        expected = said if said.kind else replace(said, kind=Kind.CATEGORICAL)
        assert load_overrides(path)["label"] == expected


@pytest.mark.parametrize("rule", [RareRule(), RareRule(Rare.KEEP_FOLDED, 20)])
def test_what_becomes_of_rare_categories_is_kept(tmp_path: Path, rule: RareRule) -> None:
    columns = {"label": ColumnOverride(rare=Rare.DRAW, min_count=3)}
    schema = infer_schema(table(), columns, rule=rule)
    path = tmp_path / "schema.yaml"
    path.write_text(schema_file(schema, "payments.csv", columns, rule=rule))
    assert load_rare_rule(path) == rule
    assert load_overrides(path)["label"] == replace(columns["label"], kind=Kind.CATEGORICAL)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_all_kinds(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(1)
    numbers = rng.integers(1, 10**7, 300)
    # All different, or nearly so, and named "no", they would be row numbers.
    numbers[:30] = numbers[30:60]
    frame = Frame.from_pandas(pd.DataFrame({name: numbers, "other": numbers}))
    schema = decided(frame)
    path = tmp_path / "schema.yaml"
    path.write_text(schema_file(schema, name))
    assert len(schema.relations) == 1
    assert decided(frame, path) == schema
