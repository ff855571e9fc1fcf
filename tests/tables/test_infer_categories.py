"""Which categories a column has, which fold into one, and which are kept nowhere."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

import numpy as np
import pytest
from cascade_tables import (
    ColumnData,
    ColumnOverride,
    DataError,
    Frame,
    Kind,
    Rare,
    RareRule,
    Schema,
    SchemaError,
    infer_schema,
)
from cascade_tables.categories import MAX_CATEGORIES, groups_of

from tests.tables.inferred import frame, inferred


class TestCategories:
    def test_the_most_frequent_come_first_and_ties_by_name(self) -> None:
        column = inferred(["b", "c", "a", "c", None, ""])
        assert column.categories == ("c", "", "a", "b")
        assert column.other is None

    def test_too_many_fold_but_for_the_frequent_ones(self) -> None:
        values = [f"c{i:03d}" for i in range(150) for _ in range(6 if i < 100 else 4)]
        column = inferred(values, rule=RareRule())
        assert column.categories == tuple(f"c{i:03d}" for i in range(100))
        assert column.other == "(other)"

    def test_there_is_a_limit_to_categories(self) -> None:
        column = inferred([f"c{i:03d}" for i in range(MAX_CATEGORIES + 1)] * 9)
        assert len(column.categories) == MAX_CATEGORIES * 3 // 4
        assert groups_of(column) == MAX_CATEGORIES // 4

    def test_where_the_label_is_the_answer_others_are_no_groups(self) -> None:
        values = [f"c{i:03d}" for i in range(MAX_CATEGORIES + 1)] * 9
        column = inferred(values, rule=RareRule(Rare.KEEP_FOLDED))
        assert len(column.categories) == MAX_CATEGORIES - 1

    def test_nor_where_all_that_are_frequent_have_room(self) -> None:
        values = [f"c{i:03d}" for i in range(MAX_CATEGORIES - 1)] * 9 + ["rare"]
        column = inferred(values, rule=RareRule())
        assert len(column.categories) == MAX_CATEGORIES - 1

    def test_as_many_as_allowed_do_not_fold(self) -> None:
        column = inferred([f"c{i:03d}" for i in range(MAX_CATEGORIES)] * 2)
        assert len(column.categories) == MAX_CATEGORIES
        assert column.other is None

    def test_limit_and_label_can_be_chosen(self) -> None:
        override = ColumnOverride(max_categories=3, other="rest")
        column = inferred(["a"] * 9 + ["b"] * 8 + ["c"] * 7 + ["d"] * 6, override)
        assert (column.categories, column.other) == (("a", "b"), "rest")

    def test_the_label_differs_from_every_category(self) -> None:
        values = ["(other)"] * 9 + ["a"] * 8 + ["b"] * 7
        column = inferred(values, ColumnOverride(max_categories=2))
        assert (column.categories, column.other) == (("(other)",), "((other))")

    def test_a_rare_category_may_lend_its_name_to_the_label(self) -> None:
        override = ColumnOverride(max_categories=2, other="rest")
        values = ["a"] * 9 + ["b", "rest"]
        assert inferred(values, override, RareRule()).categories == ("a",)

    @pytest.mark.parametrize(
        ("values", "dtype", "folded"),
        [
            ([10115, 80331, 10115], "int64", "string"),
            ([0.5, 1.5, 0.5], "double", "string"),
            ([True, False, True], "bool", "string"),
            ([date(2024, 1, 1), date(2024, 1, 2)], "string", "string"),
        ],
    )
    def test_numbers_as_categories_keep_their_type_where_it_holds_all_of_them(
        self, values: list[Any], dtype: str, folded: str
    ) -> None:
        kind = Kind.CATEGORICAL
        assert inferred(values, ColumnOverride(kind=kind)).dtype == dtype
        assert inferred(values, ColumnOverride(kind=kind, other="rest")).dtype == folded

    @pytest.mark.parametrize("override", [None, ColumnOverride(other="\ud800")])
    def test_lone_surrogates_are_refused(self, override: ColumnOverride | None) -> None:
        """Neither files nor messages can carry them, so that a release never holds one."""
        text = np.array(["a", "b" if override else "\ud83d", "c"], object)
        table = Frame({"odd": ColumnData(text, np.zeros(3, bool))})
        with pytest.raises(DataError) as caught:
            infer_schema(table, {"odd": override} if override else None)
        assert re.search(r"column 'odd': '\\ud8\w\w' is not allowed", str(caught.value))
        assert "allowed: text that UTF-8 can hold" in str(caught.value)

    def test_lone_surrogates_in_names_are_refused(self) -> None:
        data = ColumnData(np.array([1, 2]), np.zeros(2, bool))
        with pytest.raises(DataError, match=r"column '\\udc00': .* is not allowed"):
            infer_schema(Frame({"\udc00": data}))


class TestRareCategories:
    """A category that fewer rows have than `min_count` may be a person's name."""

    VALUES = ("web",) * 9 + ("app",) * 6 + ("Ada Lovelace",) * 4 + ("Alan Turing",)

    def test_they_are_kept_nowhere_however_few_categories_there_are(self) -> None:
        column = inferred(self.VALUES, rule=RareRule())
        assert (column.categories, column.other, column.min_count) == (("web", "app"), "(other)", 5)

    def test_the_count_can_be_chosen_for_a_column_and_for_all(self) -> None:
        four, every = ColumnOverride(min_count=4), ColumnOverride(min_count=1)
        assert inferred(self.VALUES, four, RareRule()).categories == ("web", "app", "Ada Lovelace")
        assert inferred(self.VALUES, every, RareRule()).other is None
        assert inferred(self.VALUES, rule=RareRule(min_count=7)).categories == ("web",)
        assert inferred(self.VALUES, every, RareRule(min_count=7)).other is None

    def test_the_label_may_stay_the_answer(self) -> None:
        keep = ColumnOverride(rare=Rare.KEEP_FOLDED)
        assert inferred(self.VALUES, keep, RareRule()).min_count is None
        column = inferred(self.VALUES, rule=RareRule(Rare.KEEP_FOLDED))
        assert (column.categories, column.min_count) == (("web", "app"), None)
        draw = ColumnOverride(rare=Rare.DRAW)
        assert inferred(self.VALUES, draw, RareRule(Rare.KEEP_FOLDED)).min_count == 5

    def test_a_column_of_nothing_else_is_left_out(self) -> None:
        values = [f"n{i // 2}" for i in range(20)]
        schema = infer_schema(frame(a=values, k=[0, 1] * 10))
        assert [(d.name, d.reason) for d in schema.dropped] == [
            ("a", "rare values: none of its 10 is in 5 rows or more (min_count)")
        ]

    def test_unless_some_are_null(self) -> None:
        column = inferred([f"n{i // 2}" for i in range(20)] + [None] * 9, rule=RareRule())
        assert (column.categories, column.other, column.nullable) == ((), "(other)", True)

    def test_the_label_is_none_of_those_that_answers_have(self) -> None:
        values = ["a"] * 9 + ["b"] * 8 + ["(other)"] * 7
        most = ColumnOverride(max_categories=2)
        assert inferred(values, most, RareRule()).other == "((other))"
        with pytest.raises(SchemaError, match=r"'\(other\)', is itself a category"):
            inferred(values, ColumnOverride(max_categories=2, other="(other)"), RareRule())

    def test_a_schema_without_them_has_no_entry_for_them(self) -> None:
        """So that those from before there was one keep their fingerprints."""
        schema = infer_schema(frame(a=["x", "y"] * 9, b=self.VALUES[:18]))
        plain, folded = schema.to_dict()["columns"]
        assert "min_count" not in plain
        assert folded["min_count"] == 5
        assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
