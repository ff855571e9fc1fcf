"""What a column is, as its values show, and which columns carry nothing to learn."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cascade_tables import (
    CascadeTablesError,
    Column,
    ColumnData,
    ColumnOverride,
    DataError,
    Formula,
    Frame,
    Kind,
    Rare,
    RareRule,
    Relation,
    Schema,
    SchemaError,
    infer_schema,
)
from cascade_tables.categories import MAX_CATEGORIES, groups_of
from cascade_tables.infer import IDENTIFIER_ROWS, MAX_EXACT, MAX_POINT_MASSES

# Keeps categories of a table of few rows.
EVERY = RareRule(min_count=1)


def frame(**columns: Any) -> Frame:
    return Frame.from_arrow(pa.table(columns))


def inferred(values: Any, override: ColumnOverride | None = None, rule: RareRule = EVERY) -> Column:
    """The column that these values are."""
    overrides = {} if override is None else {"a": override}
    return infer_schema(frame(a=values), overrides, rule=rule)["a"]


def left_out(values: Any) -> str:
    """Why a column of these values is left out; empty if it is kept."""
    table = frame(a=values, kept=[i % 2 for i in range(len(values))])
    return next((dropped.reason for dropped in infer_schema(table, rule=EVERY).dropped), "")


def shuffled(values: Any, seed: int = 0) -> Any:
    return np.random.default_rng(seed).permutation(values)


class TestKinds:
    @pytest.mark.parametrize(
        ("values", "kind", "dtype"),
        [
            (["b", "a", "b"], Kind.CATEGORICAL, "string"),
            ([True, False, True], Kind.BOOLEAN, "bool"),
            ([3, 1, 2], Kind.INTEGER, "int64"),
            ([0.5, 1.5, 1.5], Kind.CONTINUOUS, "double"),
            ([1.0, 2.0, 2.0], Kind.INTEGER, "double"),
            ([1e300, 2.0, 2.0], Kind.CONTINUOUS, "double"),
            ([date(2024, 1, 1), date(2024, 1, 3)], Kind.DATETIME, "date32[day]"),
            ([datetime(2024, 1, 1), datetime(2024, 1, 3, 1)], Kind.DATETIME, "timestamp[us]"),
        ],
    )
    @pytest.mark.parametrize("nullable", [False, True])
    def test_kind_nullability_and_source_type(
        self, values: list[Any], kind: Kind, dtype: str, nullable: bool
    ) -> None:
        column = inferred([*values, None] if nullable else values)
        assert (column.kind, column.nullable, column.dtype) == (kind, nullable, dtype)

    def test_columns_keep_their_order(self) -> None:
        table = frame(z=[1, 2], a=[1, 2], m=["x", "y"])
        assert infer_schema(table, rule=EVERY).names == ("z", "a", "m")

    def test_a_column_of_one_value_and_nulls_is_kept(self) -> None:
        column = inferred([7, None, 7])
        assert (column.minimum, column.maximum, column.nullable) == (7, 7, True)


class TestNumbers:
    def test_bounds_are_the_datas(self) -> None:
        column = inferred([2.5, -0.25, 9.0, None])
        assert (column.minimum, column.maximum) == (-0.25, 9.0)

    def test_bounds_of_huge_whole_numbers_are_exact(self) -> None:
        column = inferred([2**63 - 1, -(2**63), 2**53 + 1])
        assert (column.minimum, column.maximum) == (-(2**63), 2**63 - 1)

    def test_bounds_of_date_times_are_microseconds(self) -> None:
        column = inferred([datetime(1969, 12, 31, 23, 59, 59), datetime(1970, 1, 2)])
        assert (column.minimum, column.maximum) == (-1_000_000, 86_400_000_000)

    @pytest.mark.parametrize(
        ("values", "step"),
        [
            ([3, 4, 9], 1),
            ([-10, 20, 50], 30),
            ([7, 107, 57], 50),
            ([-(2**63), 2**63 - 1], 2**64 - 1),
            ([5.0, 15.0, 10.0], 5),
            ([date(2024, 1, 1), date(2024, 1, 3), date(2024, 1, 2)], 86_400_000_000),
        ],
    )
    def test_step_is_the_greatest_that_divides_all_differences(
        self, values: list[Any], step: int
    ) -> None:
        assert inferred(values).step == step

    @pytest.mark.parametrize(
        ("values", "decimals"),
        [
            ([1.5, 2.0], 1),
            ([0.1, 0.25, 3.0], 2),
            ([1e-6, 1.0], 6),
            ([1e-7, 1.0], None),
            ([1 / 3, 1.0], None),
            ([2e9, 0.5], None),
            (pa.array([0.1, 19.99], pa.float32()), 2),
            (pa.array(np.array([0.1, 2.5], np.float16)), 1),
            (pa.array([1 / 3, 1.0], pa.float32()), None),
        ],
    )
    def test_decimals_are_the_fewest_that_write_all_values(
        self, values: Any, decimals: int | None
    ) -> None:
        assert inferred(values).decimals == decimals

    def test_whole_numbers_modelled_as_continuous_have_no_decimals(self) -> None:
        column = inferred([10**10, 1, 5], ColumnOverride(kind=Kind.CONTINUOUS))
        assert (column.kind, column.decimals, column.dtype) == (Kind.CONTINUOUS, 0, "int64")

    @pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
    def test_values_that_many_rows_share_are_point_masses(self, share: float) -> None:
        rng = np.random.default_rng(0)
        values = rng.normal(size=4000)
        values[rng.random(4000) < share] = 0.0
        values[:100] = 9.99
        assert inferred(values).point_masses == (0.0, 9.99)

    def test_a_value_that_hardly_repeats_is_no_point_mass(self) -> None:
        values = np.random.default_rng(0).normal(size=4000)
        values[:7] = 0.0  # 0.175 %, below the 0.2 % that a point mass needs
        assert inferred(values).point_masses == ()

    def test_there_is_a_limit_to_point_masses(self) -> None:
        masses = np.repeat(np.arange(100.0), 100)
        column = inferred(np.concatenate([masses, 0.5 + np.arange(1000)]))
        assert len(column.point_masses) == MAX_POINT_MASSES

    def test_few_distinct_values_need_no_point_masses(self) -> None:
        assert inferred([0] * 500 + list(range(MAX_EXACT))).point_masses == ()

    @pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
    @pytest.mark.parametrize("kind", [None, Kind.CONTINUOUS, Kind.INTEGER, Kind.CATEGORICAL])
    def test_values_that_are_not_finite_are_refused(self, odd: float, kind: Kind | None) -> None:
        """NaN is NULL in files and data frames; a Frame made by hand may still hold it."""
        data = ColumnData(np.array([1.0, odd, 2.0, odd]), np.zeros(4, bool))
        with pytest.raises(DataError) as caught:
            infer_schema(Frame({"odd": data}), {"odd": ColumnOverride(kind=kind)})
        assert f"column 'odd' holds {odd} (2 of 4 values are not finite)" in str(caught.value)
        assert "allowed: finite values or NULL" in str(caught.value)

    def test_a_date_time_that_is_none_is_refused(self) -> None:
        data = ColumnData(np.array(["2024-01-01", "NaT"], "datetime64[us]"), np.zeros(2, bool))
        with pytest.raises(DataError, match="column 'odd' holds NaT"):
            infer_schema(Frame({"odd": data}))


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


class TestLeftOut:
    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ([None, None], "every value is NULL"),
            ([7, 7], "constant: every value is 7"),
            (["x", "x"], "constant: every value is 'x'"),
            (["", ""], "constant: every value is ''"),
            ([True, True], "constant: every value is True"),
            ([0.5, 0.5], "constant: every value is 0.5"),
            ([date(2024, 1, 1)] * 2, "constant: every value is 2024-01-01T00:00:00.000000"),
        ],
    )
    def test_nothing_to_learn(self, values: list[Any], reason: str) -> None:
        assert left_out(values) == reason

    def test_text_that_never_repeats(self) -> None:
        assert left_out([f"u{i}" for i in range(1500)]) == "identifier: all 1,500 values differ"

    def test_text_that_hardly_repeats(self) -> None:
        values = [f"u{i}" for i in range(1990)] + ["u0"] * 10
        assert left_out(values) == "identifier: 1,990 of 2,000 values differ"

    def test_text_of_few_rows_is_kept(self) -> None:
        assert left_out([f"u{i}" for i in range(IDENTIFIER_ROWS - 1)]) == ""

    @pytest.mark.parametrize("nulls", [0, 3])
    def test_row_numbers(self, nulls: int) -> None:
        values = [*shuffled(np.arange(5, 1005)).tolist(), *[None] * nulls]
        assert left_out(values) == "row number: 5 to 1004, each once"
        assert left_out(pa.array(values, pa.float64())) == "row number: 5 to 1004, each once"

    @pytest.mark.parametrize("as_type", [pa.int64(), pa.int32(), pa.float64()])
    def test_whole_numbers_that_cannot_all_differ_by_chance(self, as_type: Any) -> None:
        kept = shuffled(np.arange(1, 15421))[:12336]
        kept[:2] = 1, 15420
        reason = "identifier: all 12,336 values differ, of only 15,420 between 1 and 15420"
        assert left_out(pa.array(np.unique(kept)).cast(as_type)) != ""
        values = np.concatenate([[1, 15420], shuffled(np.arange(2, 15420))[:12334]])
        assert left_out(pa.array(values).cast(as_type)) == reason

    @pytest.mark.parametrize(("most", "kept"), [(24_975, True), (24_974, False)])
    def test_the_birthday_bound(self, most: int, kept: bool) -> None:
        """1,000 values: 1,000 x 999 / 2R is 20 at R = 24,975 and more below it."""
        values = np.concatenate([[1, most], shuffled(np.arange(2, most))[:998]])
        assert (left_out(values) == "") is kept

    def test_one_repeat_is_enough_to_keep_whole_numbers(self) -> None:
        assert left_out([*range(1, 1000), 999]) == ""

    @pytest.mark.parametrize("rows", [50, 5000])
    def test_whole_numbers_that_differ_in_a_wide_range_are_kept(self, rows: int) -> None:
        rng = np.random.default_rng(0)
        values = rng.integers(-(2**63), 2**63 - 1, rows, endpoint=True)
        assert len(np.unique(values)) == rows
        assert left_out(values) == ""

    def test_whole_numbers_of_few_rows_are_kept(self) -> None:
        assert left_out(list(range(IDENTIFIER_ROWS - 1))) == ""

    def test_real_numbers_that_differ_are_kept(self) -> None:
        assert left_out(np.random.default_rng(0).random(1000)) == ""

    def test_reasons_are_kept_in_order(self) -> None:
        schema = infer_schema(frame(c=["x", "x"], a=[0, 1], b=[None, None]))
        assert [dropped.name for dropped in schema.dropped] == ["c", "b"]


class TestTooLittle:
    @pytest.mark.parametrize(("rows", "said"), [(0, "0 rows"), (1, "1 row;")])
    def test_fewer_than_two_rows_are_refused(self, rows: int, said: str) -> None:
        with pytest.raises(DataError, match=f"the table has {said}.* at least 2 are needed"):
            infer_schema(frame(a=pa.array([1] * rows, pa.int64())))

    def test_no_columns_are_refused(self) -> None:
        with pytest.raises(DataError, match="the table has 0 rows"):
            infer_schema(Frame({}))

    def test_a_table_with_nothing_to_learn_is_refused_with_every_reason(self) -> None:
        with pytest.raises(SchemaError) as caught:
            infer_schema(frame(a=[None, None], b=[7, 7]))
        assert "no column is left to model" in str(caught.value)
        assert "'a': every value is NULL; 'b': constant: every value is 7" in str(caught.value)


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
