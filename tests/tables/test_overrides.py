"""A person's corrections: what their file may say, and what they may not contradict."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cascade_tables import (
    ColumnOverride,
    Frame,
    Kind,
    Rare,
    RareRule,
    SchemaError,
    UnknownColumn,
    infer_schema,
    load_overrides,
    load_rare_rule,
    load_relation_overrides,
)

YAML = """\
columns:
  zip_code: {kind: categorical, max_categories: 200, other: elsewhere}
  amount: {minimum: 0, maximum: 1.0e+6, point_masses: [0, 9.99], nullable: true}
  2020: {drop: true}
"""
TOML = """\
[columns.zip_code]
kind = "categorical"
max_categories = 200
other = "elsewhere"
[columns.amount]
minimum = 0
maximum = 1e6
point_masses = [0, 9.99]
nullable = true
[columns.2020]
drop = true
"""


def load(tmp_path: Path, content: str | bytes, name: str = "overrides.yaml") -> Any:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_overrides(path)


def frame(**columns: Any) -> Frame:
    return Frame.from_arrow(pa.table(columns))


class TestFile:
    @pytest.mark.parametrize(
        ("content", "name"), [(YAML, "a.yaml"), (YAML, "a.yml"), (TOML, "a.toml"), (TOML, "A.TOML")]
    )
    def test_every_key(self, tmp_path: Path, content: str, name: str) -> None:
        assert load(tmp_path, content, name) == {
            "zip_code": ColumnOverride(
                kind=Kind.CATEGORICAL, max_categories=200, other="elsewhere"
            ),
            "amount": ColumnOverride(minimum=0, maximum=1e6, point_masses=(0, 9.99), nullable=True),
            "2020": ColumnOverride(drop=True),
        }

    def test_how_cells_are_written(self, tmp_path: Path) -> None:
        text = "columns:\n  a: {null_values: ['?', -999]}\n  b: {dates: day_first}\n"
        assert load(tmp_path, text) == {
            "a": ColumnOverride(null_values=("?", "-999")),
            "b": ColumnOverride(dates="day_first"),
        }

    @pytest.mark.parametrize(
        "bound", ["2024-01-01", "2024-01-01T00:00:00", "2024-01-01 02:00:00+02:00"]
    )
    def test_bounds_of_dates_are_dates(self, tmp_path: Path, bound: str) -> None:
        overrides = load(tmp_path, f"columns:\n  a: {{minimum: {bound}}}\n")
        table = frame(a=[date(2024, 2, 1), date(2024, 3, 1)])
        assert infer_schema(table, overrides)["a"].minimum == 1_704_067_200_000_000

    @pytest.mark.parametrize(
        ("content", "name"), [("columns:\n", "a.yaml"), ("columns = {}", "a.toml")]
    )
    def test_no_columns(self, tmp_path: Path, content: str, name: str) -> None:
        assert load(tmp_path, content, name) == {}

    @pytest.mark.parametrize("name", ["naïve", "数"])
    def test_names_are_utf_8(self, tmp_path: Path, name: str) -> None:
        assert list(load(tmp_path, f"columns: {{{name}: {{drop: true}}}}")) == [name]
        assert list(load(tmp_path, f'columns."{name}".drop = true', "a.toml")) == [name]

    @pytest.mark.parametrize(
        ("content", "name", "part"),
        [
            ("columns: {a: {drop: true}", "a.yaml", "in what begins in line 1"),
            ("columns: [", "a.yaml", "line 1"),
            ("[columns\n", "a.toml", "line 1"),
            ("[columns]\na = {b = 1}\na = {b = 2}", "a.toml", "Cannot overwrite a value"),
            (b"columns: {caf\xe9: {drop: true}}", "a.yaml", "0xe9"),
            (b"[columns.caf\xe9]", "a.toml", "0xe9"),
            ("", "a.yaml", "expected the keys 'columns'"),
            ("a: {drop: true}", "a.yaml", "or some of them, not 'a'"),
            ("columns: {}\nrows: {}", "a.yaml", "or some of them, not 'rows'"),
            ("columns: [a, b]", "a.yaml", "'columns' maps a column's name to"),
            ("columns: {}", "a.json", "overrides are .yaml, .yml or .toml files"),
        ],
    )
    def test_an_unreadable_file_is_named(
        self, tmp_path: Path, content: str | bytes, name: str, part: str
    ) -> None:
        with pytest.raises(SchemaError) as caught:
            load(tmp_path, content, name)
        assert str(tmp_path / name) in str(caught.value)
        assert part in str(caught.value)

    @pytest.mark.parametrize("name", ["nowhere.yaml", "nowhere.toml"])
    def test_a_missing_file_is_named(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(SchemaError, match=f"{name} cannot be read: No such file"):
            load_overrides(tmp_path / name)

    @pytest.mark.parametrize(
        ("entry", "parts"),
        [
            ("{kinds: integer}", ["unknown key 'kinds'", "allowed: kind, drop, nullable, minimum"]),
            ("{kind: text}", ["kind is 'text'", "categorical, boolean, integer, continuous, date"]),
            ("{kind: 1}", ["kind is 1", "allowed: one of categorical"]),
            ("{drop: 1}", ["drop is 1", "allowed: true or false"]),
            ("{nullable: maybe}", ["nullable is 'maybe'", "allowed: true or false"]),
            ("{minimum: '0'}", ["minimum is '0'", "allowed: a finite number"]),
            ("{minimum: true}", ["minimum is True", "allowed: a finite number"]),
            ("{minimum: -.inf}", ["minimum is -inf", "allowed: a finite number"]),
            ("{maximum: .nan}", ["maximum is nan", "allowed: a finite number"]),
            ("{maximum: [2024-01-01]}", ["maximum is [datetime.date", "number, or a date"]),
            ("{maximum: 1" + "0" * 309 + "}", ["maximum is 1000", "allowed: a finite number"]),
            ("{point_masses: 0}", ["point_masses is 0", "allowed: a list of finite numbers"]),
            ("{point_masses: [0, x]}", ["[0, 'x']", "allowed: a list of finite numbers"]),
            ("{point_masses: [.inf]}", ["[inf]", "allowed: a list of finite numbers"]),
            ("{null_values: '?'}", ["null_values is '?'", "a list of texts and finite numbers"]),
            ("{null_values: [.nan]}", ["null_values is [nan]", "such as ['?', -999]"]),
            ("{dates: dmy}", ["dates is 'dmy'", "allowed: day_first or month_first"]),
            ("{max_categories: 1}", ["max_categories is 1", "a whole number from 2 to 32,766"]),
            ("{max_categories: 9.5}", ["max_categories is 9.5", "a whole number from 2"]),
            ("{max_categories: 40000}", ["max_categories is 40000", "from 2 to 32,766"]),
            ("{rare: yes}", ["rare is 'yes'", "allowed: one of draw, keep_folded"]),
            ("{min_count: 0}", ["min_count is 0", "allowed: a whole number, at least 1"]),
            ("{min_count: true}", ["min_count is True", "allowed: a whole number, at least 1"]),
            ("{other: 0}", ["other is 0", "allowed: a label that is not empty"]),
            ("{other: ''}", ["other is ''", "allowed: a label that is not empty"]),
            ("drop", ["expected keys such as kind or drop", "'drop'"]),
            ("", ["expected keys such as kind or drop", "None"]),
        ],
    )
    def test_what_is_not_allowed_is_named(
        self, tmp_path: Path, entry: str, parts: list[str]
    ) -> None:
        with pytest.raises(SchemaError) as caught:
            load(tmp_path, f"columns:\n  zip: {entry}\n")
        for part in ["column 'zip'", *parts]:
            assert part in str(caught.value)


class TestRelations:
    def relations(self, tmp_path: Path, content: str, name: str = "a.yaml") -> dict[str, str]:
        (tmp_path / name).write_text(content)
        found = load_relation_overrides(tmp_path / name)
        return {str(each.formula): each.wish.value for each in found}

    @pytest.mark.parametrize(
        ("content", "name"),
        [
            ("relations:\n  a = b + c: declared\n  '\"x y\" = b': refused\n", "a.yaml"),
            (
                "[relations]\n'a = b + c' = 'declared'\n'\"x y\" = b' = 'refused'\n",
                "a.toml",
            ),
        ],
    )
    def test_each_with_what_is_wished(self, tmp_path: Path, content: str, name: str) -> None:
        assert self.relations(tmp_path, content, name) == {
            "a = b + c": "declared",
            '"x y" = b': "refused",
        }
        assert load_overrides(tmp_path / name) == {}

    def test_a_file_of_columns_alone_has_none(self, tmp_path: Path) -> None:
        assert self.relations(tmp_path, YAML) == {}

    def test_the_same_twice_counts_once(self, tmp_path: Path) -> None:
        twice = "relations: {a = b + c: refused, b = a - c: refused}"
        assert self.relations(tmp_path, twice) == {"a = b + c": "refused"}

    @pytest.mark.parametrize(
        ("content", "part"),
        [
            ("relations: [a = b]", "'relations' maps a relation"),
            ("relations: {a = b: refuse}", "relation 'a = b' is 'refuse'; allowed: found, decl"),
            ("relations: {a = b: refuse}", "Did you mean 'refused'?"),
            ("relations: {a = b: true}", "relation 'a = b' is True; allowed: found"),
            ("relations: {a = b: {drop: true}}", "allowed: found, declared, refused"),
            ("relations: {a equals b: declared}", "'a equals b' is not a relation: expected one"),
            (
                "relations: {a = b + c: refused, b = a - c: declared}",
                "relation 'b = a - c' is declared, but 'a = b + c', which is the same, is refused",
            ),
        ],
    )
    def test_what_is_not_allowed_is_named(self, tmp_path: Path, content: str, part: str) -> None:
        with pytest.raises(SchemaError) as caught:
            self.relations(tmp_path, content)
        assert str(tmp_path / "a.yaml") in str(caught.value)
        assert part in str(caught.value)


class TestRareRule:
    """What a file says of the rare categories of all columns."""

    def rule(self, tmp_path: Path, content: str, name: str = "a.yaml") -> RareRule:
        (tmp_path / name).write_text(content)
        return load_rare_rule(tmp_path / name)

    @pytest.mark.parametrize(
        ("content", "name", "rule"),
        [
            ("columns: {}", "a.yaml", RareRule()),
            ("defaults: {min_count: 20}", "a.yaml", RareRule(Rare.DRAW, 20)),
            ("defaults: {rare: keep_folded}", "a.yaml", RareRule(Rare.KEEP_FOLDED, 5)),
            (
                "[defaults]\nrare = 'keep_folded'\nmin_count = 1",
                "a.toml",
                RareRule(Rare.KEEP_FOLDED, 1),
            ),
        ],
    )
    def test_it_is_read(self, tmp_path: Path, content: str, name: str, rule: RareRule) -> None:
        assert self.rule(tmp_path, content, name) == rule
        assert load_overrides(tmp_path / name) == {}

    def test_a_column_may_say_otherwise(self, tmp_path: Path) -> None:
        content = "defaults: {min_count: 20}\ncolumns: {city: {rare: keep_folded, min_count: 2}}"
        assert self.rule(tmp_path, content) == RareRule(min_count=20)
        overrides = load_overrides(tmp_path / "a.yaml")
        assert overrides == {"city": ColumnOverride(rare=Rare.KEEP_FOLDED, min_count=2)}

    @pytest.mark.parametrize(
        ("content", "part"),
        [
            (
                "defaults: {rare: fold}",
                "defaults: rare is 'fold'; allowed: one of draw, keep_folded",
            ),
            ("defaults: {min_count: 2.5}", "defaults: min_count is 2.5; allowed: a whole number"),
            ("defaults: {kind: integer}", "defaults: unknown key 'kind'; allowed: rare, min_count"),
            ("defaults: 5", "'defaults' maps 'rare' and 'min_count' to what holds for all columns"),
        ],
    )
    def test_what_is_not_allowed_is_named(self, tmp_path: Path, content: str, part: str) -> None:
        with pytest.raises(SchemaError) as caught:
            self.rule(tmp_path, content)
        assert str(tmp_path / "a.yaml") in str(caught.value)
        assert part in str(caught.value)


class TestAgainstTheData:
    @pytest.mark.parametrize(
        ("values", "override", "parts"),
        [
            (
                [3, 9],
                ColumnOverride(minimum=datetime(2024, 1, 1)),
                ["minimum in the overrides is a date", "of kind integer"],
            ),
            (
                [date(2024, 2, 1), date(2024, 3, 1)],
                ColumnOverride(minimum=datetime(2024, 2, 2)),
                ["minimum 2024-02-02T", "above the smallest value, 2024-02-01T"],
            ),
            ([3, 9, 5], ColumnOverride(minimum=4), ["minimum 4", "above the smallest value, 3"]),
            ([3, 9, 5], ColumnOverride(maximum=8.5), ["maximum 8.5", "below the largest value, 9"]),
            ([3, 9], ColumnOverride(maximum=2e19), ["maximum 2e+19", "64 bits"]),
            ([0.5, 2.5], ColumnOverride(minimum=1), ["minimum 1", "the smallest value, 0.5"]),
            ([1, None], ColumnOverride(nullable=False), ["not nullable", "1 of its 2 rows"]),
            (["a", "b"], ColumnOverride(kind=Kind.BOOLEAN), ["boolean", "not string"]),
            ([0, 1], ColumnOverride(kind=Kind.BOOLEAN), ["boolean", "not int64"]),
            ([0.5, 1.0], ColumnOverride(kind=Kind.INTEGER), ["integer", "whole numbers", "0.5"]),
            ([1e300, 1.0], ColumnOverride(kind=Kind.INTEGER), ["integer", "64 bits", "1e+300"]),
            (
                [2**53 + 1, 1],
                ColumnOverride(kind=Kind.CONTINUOUS),
                ["continuous", "beyond 2^53", "9007199254740993"],
            ),
            (["a", "b"], ColumnOverride(kind=Kind.INTEGER), ["integer", "numbers", "not string"]),
            ([True, False], ColumnOverride(kind=Kind.CONTINUOUS), ["continuous", "not bool"]),
            ([1, 2], ColumnOverride(kind=Kind.DATETIME), ["datetime", "date-times", "not int64"]),
            (
                [date(2024, 1, 1), date(2024, 1, 2)],
                ColumnOverride(kind=Kind.INTEGER),
                ["integer", "numbers", "not date32[day]"],
            ),
            (
                ["a", "b"],
                ColumnOverride(other="a", min_count=1),
                ["label for rare categories, 'a', is itself a category"],
            ),
            (
                ["a", "b"],
                ColumnOverride(minimum=0),
                ["minimum", "no effect", "kind categorical"],
            ),
            ([1, 2], ColumnOverride(max_categories=2), ["max_categories", "kind integer"]),
            ([True, False], ColumnOverride(other="x"), ["other", "kind boolean"]),
            ([1, 2], ColumnOverride(rare=Rare.DRAW), ["rare", "no effect", "kind integer"]),
            ([1, 2], ColumnOverride(min_count=1), ["min_count", "no effect", "kind integer"]),
            ([1, 9], ColumnOverride(point_masses=(2.5,)), ["point mass 2.5", "whole number"]),
            ([1, 9], ColumnOverride(point_masses=(1, 10)), ["point mass 10", "from 1 to 9"]),
        ],
    )
    def test_contradictions_are_refused(
        self, values: list[Any], override: ColumnOverride, parts: list[str]
    ) -> None:
        with pytest.raises(SchemaError) as caught:
            infer_schema(frame(ok=list(range(len(values))), odd=values), {"odd": override})
        for part in ["column 'odd'", *parts]:
            assert part in str(caught.value)

    def test_an_unknown_column_is_named_with_the_nearest(self) -> None:
        with pytest.raises(UnknownColumn) as caught:
            infer_schema(frame(amount=[1, 2]), {"amuont": ColumnOverride()})
        assert "unknown column 'amuont' (named in the schema overrides)" in str(caught.value)
        assert "the columns are: amount. Did you mean 'amount'?" in str(caught.value)

    def test_bounds_may_be_widened(self) -> None:
        table = frame(i=[3, 9], x=[0.5, 2.5])
        wider = ColumnOverride(minimum=-1, maximum=10.5)
        schema = infer_schema(table, {"i": wider, "x": wider})
        assert (schema["i"].minimum, schema["i"].maximum) == (-1, 10)
        assert (schema["x"].minimum, schema["x"].maximum) == (-1.0, 10.5)
        assert type(schema["i"].maximum) is int
        assert type(schema["x"].minimum) is float

    def test_dropping_wins_over_everything_else(self) -> None:
        schema = infer_schema(
            frame(a=[1, 2], b=["x", "y"]), {"b": ColumnOverride(drop=True, minimum=3)}
        )
        assert schema.names == ("a",)
        assert [(d.name, d.reason) for d in schema.dropped] == [("b", "asked for in the overrides")]

    def test_naming_a_kind_keeps_what_looks_like_an_identifier(self) -> None:
        table = frame(code=[f"c{i}" for i in range(20)], row=list(range(20)), a=[0, 1] * 10)
        kinds = {
            "code": ColumnOverride(kind=Kind.CATEGORICAL),
            "row": ColumnOverride(kind=Kind.INTEGER),
        }
        every = RareRule(min_count=1)
        assert infer_schema(table, rule=every).names == ("a",)
        assert infer_schema(table, kinds, rule=every).names == ("code", "row", "a")

    def test_a_column_may_be_nullable_before_it_has_a_null(self) -> None:
        schema = infer_schema(frame(a=[1, 2]), {"a": ColumnOverride(nullable=True)})
        assert schema["a"].nullable

    def test_point_masses_are_sorted_once_each_in_the_kinds_type(self) -> None:
        masses = ColumnOverride(point_masses=(5, 0, 5.0))
        schema = infer_schema(frame(x=[0.5, -1.0, 9.0], i=[0, 5, 9]), {"x": masses, "i": masses})
        assert schema["x"].point_masses == (0.0, 5.0)
        assert schema["i"].point_masses == (0, 5)
        assert [type(mass) for mass in schema["x"].point_masses] == [float, float]
        assert [type(mass) for mass in schema["i"].point_masses] == [int, int]
