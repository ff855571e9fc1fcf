"""Planted relations are found at their share, and nothing where nothing was planted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cascade_tables import (
    Codec,
    Formula,
    Frame,
    Relation,
    RelationOverride,
    Schema,
    SchemaError,
    UnknownColumn,
    Wish,
    find_relations,
    infer_schema,
)
from hypothesis import given, settings
from hypothesis import strategies as st

ROWS = 4000
Columns = dict[str, Any]


def money(rng: np.random.Generator, rows: int, zeros: float = 0.0) -> np.ndarray:
    """Amounts in cents, some of which are zero, and some of which everybody has."""
    cents = np.round(np.exp(rng.normal(10, 1.5, rows))).astype(np.int64)
    cents = np.where(rng.random(rows) < 0.1, rng.choice([500, 1000, 5000], rows), cents)
    return np.where(rng.random(rows) < zeros, 0, cents)


def found(columns: Columns, *overrides: RelationOverride) -> dict[str, Relation]:
    table = Frame.from_pandas(pd.DataFrame(columns))
    schema = infer_schema(table)
    return {str(r.formula): r for r in find_relations(table, schema, overrides)}


def holding(share: float, rows: int, rng: np.random.Generator) -> np.ndarray:
    return rng.random(rows) < share


seeds = st.integers(0, 2**32)
shares = st.sampled_from([0.04, 0.1, 0.5, 1.0])
several = settings(max_examples=8, deadline=None, derandomize=True, database=None)


class TestPlanted:
    """Four standard deviations of a share of 4,000 rows are at most 3.2 points."""

    @several
    @given(seeds, shares, st.booleans())
    def test_copies(self, seed: int, share: float, real: bool) -> None:
        rng = np.random.default_rng(seed)
        a, b = (money(rng, ROWS, zeros=0.3) for _ in range(2))
        b = np.where(holding(share, ROWS, rng), a, b)
        unit = 100 if real else 1
        relation = found({"a": a / unit, "b": b / unit, "c": money(rng, ROWS)})["a = b"]
        assert relation.share == pytest.approx(((a == b) & (a != 0)).mean(), abs=1e-6)
        assert relation.held_out_share == pytest.approx(relation.share, abs=0.05)
        assert relation.always == (share == 1)

    @several
    @given(seeds, shares)
    def test_sums_of_three_and_of_four(self, seed: int, share: float) -> None:
        rng = np.random.default_rng(seed)
        parts = [money(rng, ROWS) for _ in range(6)]
        two, three = parts[0] + parts[1], parts[2] + parts[3] + parts[4]
        two, three = (
            np.where(holding(share, ROWS, rng), total, money(rng, ROWS)) for total in (two, three)
        )
        columns = {f"p{at}": part / 100 for at, part in enumerate(parts)}
        relations = found(columns | {"two": two / 100, "three": three / 100})
        assert set(relations) == {"two = p0 + p1", "three = p2 + p3 + p4"}
        assert [r.share for r in relations.values()] == pytest.approx([share] * 2, abs=0.032)

    @several
    @given(seeds, st.sampled_from([0.1, 0.5]))
    def test_with_a_number_that_many_rows_have(self, seed: int, share: float) -> None:
        """Paid is the total less a deductible, of which there are four."""
        rng = np.random.default_rng(seed)
        total, fixed = money(rng, ROWS), rng.choice([10_000, 25_050, 50_000, 75_000], ROWS)
        paid = np.where(holding(share, ROWS, rng), total - fixed, money(rng, ROWS))
        relations = found({"total": total, "fixed": fixed, "paid": paid})
        assert set(relations) == {"total = fixed + paid"}
        assert relations["total = fixed + paid"].share == pytest.approx(share, abs=0.032)

    @several
    @given(seeds)
    def test_two_against_two(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        a, b, c = (money(rng, ROWS) for _ in range(3))
        assert set(found({"a": a, "b": b, "c": c, "d": a + b - c})) == {"d = a + b - c"}

    @several
    @given(seeds)
    def test_small_numbers_that_always_add_up(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        kids, adults = rng.integers(0, 5, ROWS), rng.integers(1, 4, ROWS)
        columns = {"kids": kids, "adults": adults, "people": kids + adults, "cars": kids % 3}
        assert list(found(columns)) == ["people = kids + adults"]

    @several
    @given(seeds, st.sampled_from(["days", "hours", "minutes", "seconds"]), shares)
    def test_dates_that_follow_one_another(self, seed: int, unit: str, share: float) -> None:
        rng = np.random.default_rng(seed)
        opened = np.datetime64("2024-01-01", "s") + rng.integers(0, 3 * 10**7, ROWS)
        length = rng.integers(1, 400, ROWS)
        one = np.timedelta64({"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}[unit], "s")
        closed = np.where(
            holding(share, ROWS, rng), opened + length * one, opened + rng.integers(1, 10**8, ROWS)
        )
        paid = np.where(holding(0.2, ROWS, rng), closed, closed + rng.integers(1, 10**6, ROWS))
        relations = found({"opened": opened, "length": length, "closed": closed, "paid": paid})
        formula = f"closed = opened + length in {unit}"
        assert set(relations) >= {formula, "closed = paid"}
        assert relations[formula].share == pytest.approx(share, abs=0.032)
        assert relations["closed = paid"].share == pytest.approx(0.2, abs=0.032)

    def test_of_a_mixture_each_part_is_found(self) -> None:
        """A ledger: deposits, withdrawals, and frauds that take all there is."""
        rng = np.random.default_rng(5)
        before, amount, kind = money(rng, ROWS, 0.1), money(rng, ROWS), rng.random(ROWS)
        amount = np.where(kind < 0.04, np.maximum(before, 1), amount)
        after = np.where(kind < 0.5, before - amount, before + amount)
        relations = found({"amount": amount, "before": before, "after": after})
        assert set(relations) >= {
            "before = amount + after",
            "after = amount + before",
            "amount = before",
        }

    def test_with_null_in_most_rows(self) -> None:
        rng = np.random.default_rng(6)
        a, b = money(rng, ROWS), money(rng, ROWS)
        table = pd.DataFrame({"a": a / 1, "b": b / 1, "c": (a + b) / 1})
        for name in table:
            table.loc[rng.random(ROWS) < 0.4, name] = np.nan
        assert found(table) == found(table)
        assert list(found(table)) == ["c = a + b"]

    def test_in_a_table_of_which_some_columns_are_searched_at_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cascade_tables.relations.candidates.MOST_TOGETHER", 24)
        rng = np.random.default_rng(14)
        table = {f"c{at}": money(rng, ROWS) for at in range(40)}
        table["c3"] = table["c20"] + table["c35"]
        table["c9"] = np.where(holding(0.2, ROWS, rng), table["c1"] + table["c2"], table["c9"])
        table["c7"] = table["c11"] + table["c12"] + table["c39"]
        assert set(found(table)) == {"c3 = c20 + c35", "c9 = c1 + c2", "c7 = c11 + c12 + c39"}

    def test_in_a_table_of_200_rows(self) -> None:
        rng = np.random.default_rng(7)
        a, b = money(rng, 200), money(rng, 200)
        assert list(found({"a": a, "b": b, "c": a + b})) == ["c = a + b"]


@st.composite
def unrelated(draw: st.DrawFn) -> Columns:
    """Tables in which much is equal by chance, and nothing by a relation."""
    rng = np.random.default_rng(draw(seeds))
    rows = draw(st.sampled_from([30, 300, 3000]))
    base = rng.normal(size=rows)
    columns: Columns = {}
    for at in range(draw(st.integers(2, 9))):
        near = draw(st.sampled_from([0.0, 0.5, 0.99])) * base + rng.normal(size=rows) / 4
        columns[f"c{at}"] = draw(
            st.sampled_from(
                [
                    rng.integers(0, 4, rows),
                    rng.integers(0, 50, rows),
                    rng.integers(0, 100_000, rows),
                    np.where(rng.random(rows) < 0.8, 0, rng.integers(1, 1000, rows)),
                    np.round(100 * near).astype(int),
                    np.round(20_000 * near + 50_000).astype(int) // 1000 * 1000,
                    np.round(np.exp(3 + near), 2),
                    near,
                    rng.choice([0.0, 9.99, 19.99, 100.0], rows),
                    np.datetime64("2024-01-01") + rng.integers(0, 300, rows),
                    np.datetime64("2024-01-01T00:00:00") + rng.integers(0, 10**7, rows),
                ]
            )
        )
    return columns


class TestNothingPlanted:
    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(unrelated())
    def test_random_tables_have_none(self, columns: Columns) -> None:
        assert not found(columns)

    def test_numbers_that_are_close_are_not_equal(self) -> None:
        rng = np.random.default_rng(1)
        a = rng.integers(0, 10**6, ROWS)
        near = a + np.round(rng.normal(0, 3, ROWS)).astype(int)
        assert (a == near).mean() > 0.1
        assert not found({"a": a, "near": near})

    def test_values_that_many_rows_have_are_equal_by_habit(self) -> None:
        """Who pays 1,000 in one month pays 1,000 in the next; other amounts have nothing to do
        with each other."""
        rng = np.random.default_rng(2)
        habit = rng.choice([1000, 2000, 3000, 5000], ROWS)
        months = {
            name: np.where(rng.random(ROWS) < 0.6, habit, rng.integers(1, 10**6, ROWS))
            for name in ("june", "july")
        }
        assert (months["june"] == months["july"]).mean() > 0.3
        assert not found(months)

    def test_zeros_and_constants(self) -> None:
        rng = np.random.default_rng(3)
        mostly = {f"z{i}": np.where(rng.random(ROWS) < 0.97, 0, money(rng, ROWS)) for i in range(4)}
        assert not found(mostly | {"one": np.ones(ROWS, int)})

    def test_one_number_or_none(self) -> None:
        assert not found({"a": [1, 2, 3], "b": ["x", "y", "z"]})
        assert not found({"b": ["x", "y", "z"], "c": [True, False, True]})


class TestRedundant:
    @several
    @given(seeds, st.permutations(["a", "b", "c"]))
    def test_a_sum_is_listed_once(self, seed: int, order: list[str]) -> None:
        rng = np.random.default_rng(seed)
        b, c = money(rng, ROWS), money(rng, ROWS)
        columns = {"a": b + c, "b": b, "c": c}
        relations = list(found({name: columns[name] for name in order}))
        assert [Formula.parse(text).key for text in relations] == [Formula.parse("a = b + c").key]

    def test_of_copies_as_many_as_needed(self) -> None:
        rng = np.random.default_rng(4)
        a, b = money(rng, ROWS), money(rng, ROWS)
        copies = {"a": a, "a2": a, "a3": a, "b": b, "b2": b, "c": a + b, "c2": a + b}
        # Seven columns of which two are free.
        assert len(found(copies)) == 5

    @pytest.mark.parametrize(("share", "listed"), [(0.3, True), (0.03, False)])
    def test_a_copy_of_a_copy_is_listed_where_copies_hold_in_many_rows(
        self, share: float, listed: bool
    ) -> None:
        """Of half of the rows of which b = c, a = b too."""
        rng = np.random.default_rng(14)
        b = money(rng, ROWS)
        a = np.where(rng.random(ROWS) < 0.5, b, money(rng, ROWS))
        c = np.where(rng.random(ROWS) < share, b, money(rng, ROWS))
        follows = {"a = c"} if listed else set()
        assert set(found({"a": a, "b": b, "c": c})) == {"a = b", "b = c"} | follows

    def test_a_copy_of_a_date_is_not_another_duration(self) -> None:
        rng = np.random.default_rng(8)
        opened = np.datetime64("2024-01-01") + rng.integers(0, 900, ROWS)
        days = rng.integers(1, 90, ROWS)
        columns = {"opened": opened, "seen": opened, "days": days, "closed": opened + days}
        assert len(found(columns)) == 2

    def test_a_sum_without_what_is_zero_follows(self) -> None:
        """But not where the longer sum has nothing to do with it."""
        rng = np.random.default_rng(11)
        a, b, c = money(rng, ROWS), money(rng, ROWS), money(rng, ROWS, zeros=0.3)
        assert list(found({"a": a, "b": b, "c": c, "all": a + b + c})) == ["all = a + b + c"]
        sometimes = np.where(rng.random(ROWS) < 0.2, a + b, a + b + c)
        assert set(found({"a": a, "b": b, "c": c + 1, "all": sometimes})) == {"all = a + b"}
        rest = np.where(rng.random(ROWS) < 0.2, a + b, a + b + c + 1)
        both = {"all = a + b", "all = a + b + c"}
        assert set(found({"a": a, "b": b, "c": c + 1, "all": rest})) == both

    def test_a_sum_of_sums_follows(self) -> None:
        rng = np.random.default_rng(9)
        a, b, c = (money(rng, ROWS) for _ in range(3))
        columns = {"a": a, "b": b, "c": c, "ab": a + b, "all": a + b + c}
        assert set(found(columns)) == {"ab = a + b", "all = c + ab"}


def test_a_codec_keeps_them() -> None:
    rng = np.random.default_rng(12)
    a, b = money(rng, ROWS), money(rng, ROWS)
    table = Frame.from_pandas(pd.DataFrame({"a": a, "b": b, "c": a + b}))
    plain = infer_schema(table)
    codec = Codec.fit(replace(plain, relations=find_relations(table, plain)), table)
    back = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
    assert [str(each.formula) for each in back.schema.relations] == ["c = a + b"]
    assert back.schema == codec.schema
    assert back.encode(table).tolist() == Codec.fit(plain, table).encode(table).tolist()


def test_of_very_many_rows_some_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cascade_tables.relations.finding.MOST_MEASURED", 1000)
    rng = np.random.default_rng(13)
    a = money(rng, ROWS)
    b = np.where(rng.random(ROWS) < 0.5, a, money(rng, ROWS))
    share = found({"a": a, "b": b})["a = b"].share
    assert share == pytest.approx(0.5, abs=4 * 0.5 / 1000**0.5)
    assert share == round(share, 3)


class TestOverrides:
    def columns(self) -> Columns:
        rng = np.random.default_rng(10)
        a, b, c = (money(rng, ROWS) for _ in range(3))
        rare = np.where(rng.random(ROWS) < 0.002, a, money(rng, ROWS))
        text = rng.choice(["x", "y"], ROWS)
        return {"a": a, "b": b, "total": a + b, "c": c, "rare": rare, "text": text}

    def wish(self, text: str, wish: Wish) -> RelationOverride:
        return RelationOverride(Formula.parse(text), wish)

    def test_refused_however_it_is_written(self) -> None:
        columns = self.columns()
        assert list(found(columns)) == ["total = a + b"]
        assert not found(columns, self.wish("a = total - b", Wish.REFUSED))

    def test_declared_though_it_is_rare(self) -> None:
        relations = found(self.columns(), self.wish("rare = a", Wish.DECLARED))
        assert set(relations) == {"total = a + b", "a = rare"}
        assert relations["a = rare"].declared
        assert 0 < relations["a = rare"].share < 0.006
        assert not relations["total = a + b"].declared

    def test_declared_and_found_is_listed_once(self) -> None:
        relations = found(self.columns(), self.wish("b = total - a", Wish.DECLARED))
        assert relations["total = a + b"].declared
        assert len(relations) == 1

    def test_what_holds_nowhere_cannot_be_declared(self) -> None:
        with pytest.raises(SchemaError, match="holds in none of the 4,000 rows"):
            found(self.columns(), self.wish("b = a + total", Wish.DECLARED))

    @pytest.mark.parametrize("wish", list(Wish))
    def test_unknown_names_are_refused_with_a_suggestion(self, wish: Wish) -> None:
        with pytest.raises(UnknownColumn) as caught:
            found(self.columns(), self.wish("totl = a + b", wish))
        assert "unknown column 'totl' (named in the relation 'totl = a + b')" in str(caught.value)
        assert "Did you mean 'total'?" in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("a = text", "column 'text' is categorical; allowed: numbers and date-times"),
            ("a = b + c in days", "needs no unit"),
        ],
    )
    def test_what_the_columns_cannot_have(self, text: str, part: str) -> None:
        with pytest.raises(SchemaError) as caught:
            found(self.columns(), self.wish(text, Wish.DECLARED))
        assert part in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("end = begin + days", "does not say what the number counts"),
            ("end + begin = other in days", "adds dates"),
            ("days = end + begin in days", "adds dates"),
            ("end = begin in days", "needs no unit"),
        ],
    )
    def test_of_dates_only_differences_mean_something(self, text: str, part: str) -> None:
        day = np.datetime64("2024-01-01") + np.arange(30) % 7
        table = Frame.from_pandas(
            pd.DataFrame({"begin": day, "end": day + 2, "other": day, "days": np.arange(30) % 4})
        )
        schema: Schema = infer_schema(table)
        with pytest.raises(SchemaError) as caught:
            schema.check_formula(Formula.parse(text))
        assert part in str(caught.value)
