"""A schema as text to read, and as JSON to keep."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import numpy as np
import pytest
from cascade_tables import (
    CascadeTablesError,
    ColumnOverride,
    Formula,
    Relation,
    Schema,
    infer_schema,
)

from tests.tables.inferred import EVERY, frame


class TestDescribe:
    def test_it_is_a_readable_table(self) -> None:
        table = frame(
            id=[f"u{i}" for i in range(20)],
            amount=[0.0, 1234.5, None, 2.25] * 5,
            at=[date(2024, 1, 31), date(2024, 2, 29)] * 10,
            since=[datetime(2024, 1, 31, 0, 0, 0, 500_000), datetime(2024, 2, 29, 12)] * 10,
            member=[True, False] * 10,
            channel=["web", "app", "web", "shop", "a", "b", "", "two\nlines", "app", "web"] * 2,
            code=["a"] * 10 + ["b"] * 5 + ["c"] * 5,
        )
        schema = infer_schema(table, {"code": ColumnOverride(max_categories=2)}, rule=EVERY)
        assert schema.describe().splitlines() == [
            "column   kind         null  values",
            "───────  ───────────  ────  ────────────────────────────────────────",
            "amount   continuous   yes   0 … 1,234.5",
            "at       datetime           2024-01-31 … 2024-02-29",
            "since    datetime           2024-01-31T00:00:00.500000 … 2024-02-29T12:00:00",
            "member   boolean            true, false",
            "channel  categorical        7: web, app, '', a, …",
            "code     categorical        1: a; rare ones as '(other)'",
            "",
            "left out:",
            "  id: identifier: all 20 values differ",
            "to keep one, name its kind in the file of --schema",
        ]

    def test_point_masses_are_named(self) -> None:
        values = np.concatenate([np.zeros(100), np.full(50, 9.99), np.arange(200) + 0.5])
        described = infer_schema(frame(a=values)).describe()
        assert "a       continuous        0 … 199.5; often 0, 9.99" in described

    @pytest.mark.parametrize(
        ("odd", "label"),
        [
            ("two\nlines", r"'two\nlines'"),
            ("\ttab", r"'\ttab'"),
            (" padded ", "' padded '"),
            ("a, b", "'a, b'"),
            ("x" * 200, "x" * 37 + "..."),
            ("naïve 数", "naïve 数"),
        ],
    )
    def test_odd_text_is_told_apart(self, odd: str, label: str) -> None:
        table = frame(**{odd: [odd, "b", odd], "k": [0, 1, 2]})
        described = infer_schema(table, rule=EVERY).describe()
        assert described.splitlines()[2].split("  ")[0] == label
        assert f"2: {label}, b" in described.splitlines()[2]

    def test_relations_are_listed_with_how_often_they_hold(self) -> None:
        schema = infer_schema(frame(a=[1, 2], b=[1, 2], c=[2, 4]))
        relations = (
            Relation(Formula.parse("c = a + b"), 0, 1.0, 1.0, always=True),
            Relation(Formula.parse("a = b"), 0, 0.041, 0.04),
        )
        assert replace(schema, relations=relations).describe().splitlines()[-3:] == [
            "exact relations:",
            "  c = a + b: always",
            "  a = b: in 4.1 % of the rows",
        ]


class TestSchema:
    def test_it_comes_back_from_json(self) -> None:
        table = frame(a=[0.5, 1.0], b=["x", "y"], c=[None, None], d=[2**63 - 1, 1])
        schema = infer_schema(table, rule=EVERY)
        back = Schema.from_dict(json.loads(json.dumps(schema.to_dict())))
        assert back == schema
        assert back.fingerprint == schema.fingerprint

    def test_relations_come_back_too_and_without_them_there_is_no_entry(self) -> None:
        plain = infer_schema(frame(a=[1, 2], b=[1, 2]))
        assert set(plain.to_dict()) == {"columns", "dropped"}
        related = replace(plain, relations=(Relation(Formula.parse("a = b"), 0, 1.0, 1.0, True),))
        back = Schema.from_dict(json.loads(json.dumps(related.to_dict())))
        assert back == related
        assert back.fingerprint == related.fingerprint != plain.fingerprint

    @pytest.mark.parametrize(
        ("change", "part"),
        [
            ({"formula": "a = c"}, "unknown column 'c' (named in the relation 'a = c')"),
            ({"formula": "a b"}, "'a b' is not a relation"),
            ({"extra": 1}, "this is not a schema"),
        ],
    )
    def test_damaged_relations_are_refused(self, change: dict[str, Any], part: str) -> None:
        plain = infer_schema(frame(a=[1, 2], b=[1, 2]))
        relation = Relation(Formula.parse("a = b"), 0, 1.0, 1.0).to_dict() | change
        with pytest.raises(CascadeTablesError) as caught:
            Schema.from_dict(plain.to_dict() | {"relations": [relation]})
        assert part in str(caught.value)
