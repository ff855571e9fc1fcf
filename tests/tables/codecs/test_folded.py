"""Rare categories share a token; an answer has one of those that were seen often enough."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from cascade_tables import (
    Codec,
    ColumnData,
    ColumnOverride,
    Frame,
    Rare,
    RareRule,
    SchemaError,
    infer_schema,
)
from cascade_tables.codecs.columns.folded import FoldedCategories
from cascade_tables.codecs.columns.outside import OutsideKind
from numpy.typing import NDArray

ROWS = 4_000
# Few tokens, so that most categories fold, into one group and into five.
FEW = ColumnOverride(max_categories=4)
GROUPED = ColumnOverride(max_categories=20)
FOLDED = {"categories": ["b", "c"], "counts": [8, 7]}
NAMES = ("shop", "amount", "city", "at", "flag")


def shops(rows: int = ROWS, seed: int = 0) -> NDArray[Any]:
    """Names of shops: 3 are frequent, some 40 are in 5 rows or more, some are in fewer."""
    ranks = np.random.default_rng(seed).zipf(1.6, rows) % 200
    return np.array([f"shop {rank}" for rank in ranks], object)


def table(rows: int = ROWS) -> Frame:
    """Two columns that fold between two that are binned and one that does neither."""
    rng = np.random.default_rng(1)
    none, some = np.zeros(rows, bool), rng.random(rows) < 0.1
    return Frame(
        {
            "shop": ColumnData(shops(rows), some),
            "amount": ColumnData(rng.normal(size=rows), none),
            "city": ColumnData(shops(rows, 1), none),
            "at": ColumnData(rng.normal(size=rows), some),
            "flag": ColumnData(rng.random(rows) < 0.5, none),
        }
    )


def fitted(
    overrides: dict[str, ColumnOverride] | None = None, rule: RareRule | None = None
) -> Codec:
    frame = table()
    both = {"shop": FEW, "city": FEW}
    return Codec.fit(
        infer_schema(frame, both if overrides is None else overrides, rule=rule), frame
    )


def one(values: Sequence[str], override: ColumnOverride) -> Codec:
    frame = Frame({"a": ColumnData(np.array(values, object), np.zeros(len(values), bool))})
    return Codec.fit(infer_schema(frame, {"a": override}), frame)


def decoded(codec: Codec, rows: int, seed: int = 0) -> Frame:
    """Rows whose tokens are those of the table's."""
    tokens = codec.encode(table())
    return codec.decode(np.resize(tokens, (rows, tokens.shape[1])), np.random.default_rng(seed))


class TestAnswers:
    def test_the_label_is_none_of_them(self) -> None:
        codec = fitted()
        assert codec.schema["shop"].other == "(other)"
        assert "(other)" not in set(decoded(codec, 20_000)["shop"].values)

    def test_none_has_what_was_seen_fewer_times_than_min_count(self) -> None:
        seen = Counter(table()["shop"].present().tolist())
        answered = set(decoded(fitted(), 50_000)["shop"].present().tolist())
        assert answered == {shop for shop, count in seen.items() if count >= 5}
        twenty = ColumnOverride(max_categories=4, min_count=20)
        answered = set(decoded(fitted({"shop": twenty}), 50_000)["shop"].present().tolist())
        assert answered == {shop for shop, count in seen.items() if count >= 20}

    def test_folded_categories_come_by_frequency(self) -> None:
        values = ["a"] * 90 + ["b"] * 30 + ["c"] * 10 + ["d"] * 4
        codec = one(values, ColumnOverride(max_categories=2))
        tokens = np.full((40_000, 1), codec.layout.sizes[0] - 1, np.int32)
        found = Counter(codec.decode(tokens, np.random.default_rng(0))["a"].values.tolist())
        assert set(found) == {"b", "c"}
        # Of 30 to 10; five standard deviations of a share of .75 of 40,000 draws.
        assert found["b"] / 40_000 == pytest.approx(0.75, abs=5 * np.sqrt(0.75 * 0.25 / 40_000))

    def test_where_none_was_seen_often_enough_the_label_is_the_answer(self) -> None:
        codec = one(["a"] * 9 + ["b"] * 8 + ["Ada"] * 4, ColumnOverride())
        tokens = np.full((5, 1), codec.layout.sizes[0] - 1, np.int32)
        frame = codec.decode(tokens, np.random.default_rng(0))
        assert frame["a"].to_list() == ["(other)"] * 5

    @pytest.mark.parametrize("for_all", [False, True])
    def test_it_stays_the_answer_where_that_is_asked_for(self, for_all: bool) -> None:
        override = ColumnOverride(max_categories=4, rare=None if for_all else Rare.KEEP_FOLDED)
        rule = RareRule(Rare.KEEP_FOLDED) if for_all else None
        codec = fitted({"shop": override, "city": override}, rule)
        assert "(other)" in set(decoded(codec, 1000)["shop"].values)
        assert codec.to_dict()["columns"][0] == {"codec": "listed"}


@pytest.fixture(params=[FEW, GROUPED], ids=["one group", "groups"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return fitted({"shop": request.param, "city": request.param})


class TestEveryWay:
    """The same numbers give the same rows, however they are decoded."""

    @pytest.mark.parametrize("names", [NAMES, ("shop",), ("city", "at"), ("flag", "city", "shop")])
    def test_one_row_is_as_of_many(self, codec: Codec, names: tuple[str, ...]) -> None:
        for seed, row in enumerate(codec.encode(table(100))):
            many = codec.decode_columns(row[None], np.random.default_rng(seed), names)
            alone = codec.decode_row(row.tolist(), np.random.default_rng(seed), names)
            assert alone == {name: many[name].to_list()[0] for name in names}

    def test_all_columns_at_once_are_as_one_after_another(self, codec: Codec) -> None:
        tokens = codec.encode(table(300))
        rng = np.random.default_rng(7)
        each = {n: codec.decode_columns(tokens, rng, [n])[n].to_list() for n in NAMES}
        whole = codec.decode(tokens, np.random.default_rng(7))
        assert each == {name: whole[name].to_list() for name in NAMES}

    def test_a_batch_of_numbers_is_as_the_frame(self, codec: Codec) -> None:
        tokens = codec.encode(table(300))
        frame = codec.decode(tokens, np.random.default_rng(7))
        numbers = np.zeros((300, len(NAMES)))
        where = np.ones(numbers.shape, bool)
        rng = np.random.default_rng(7)
        codec.rows.decode(tokens, numbers, None, where, lambda of: rng.random((len(of), 300)))
        for at, name in enumerate(NAMES):
            expected = codec.rows.to_numbers(at, frame[name])
            np.testing.assert_array_equal(numbers[:, at], expected)
        labels = codec.rows.labels[0]
        told = [None if np.isnan(place) else labels[int(place)] for place in numbers[:, 0]]
        assert told == frame["shop"].to_list()

    def test_of_some_columns_alone(self, codec: Codec) -> None:
        tokens = codec.encode(table(50))
        numbers, where = np.full((50, len(NAMES)), 99.0), np.zeros((50, len(NAMES)), bool)
        where[:25, 2] = True
        rng = np.random.default_rng(7)
        codec.rows.decode(tokens, numbers, None, where, lambda of: rng.random((len(of), 50)))
        alone = codec.decode_columns(tokens, np.random.default_rng(7), ["city"])["city"]
        np.testing.assert_array_equal(numbers[:25, 2], codec.rows.to_numbers(2, alone)[:25])
        assert (numbers[25:] == 99).all()


class TestGiven:
    """A caller may give any of them."""

    def test_one_that_folds_is_learnt_and_not_outside(self, codec: Codec) -> None:
        kept, folded = codec.schema["shop"].categories[0], codec.columns[0].to_dict()["folded"]
        first = 1 + len(codec.schema["shop"].categories)
        frame = table()
        found = dict(zip(frame["shop"].values, codec.encode(frame)[:, 0], strict=True))
        sizes = folded.get("groups", [len(folded["categories"])])
        groups = np.repeat(np.arange(len(sizes)), sizes)
        for given, group in zip(folded["categories"], groups, strict=True):
            alone = codec.encode_partial({"shop": [given]}, 1, strict=True)
            many = codec.encode_partial({"shop": [kept, given, None]}, 3, strict=True)
            assert alone.tokens[0, 0] == many.tokens[1, 0] == first + group
            assert alone.outside is many.outside is None
            assert found[given] in (first + group, 0)
        assert first + groups[-1] + 1 == codec.layout.sizes[0]

    def test_the_label_is_the_first_group_s(self, codec: Codec) -> None:
        first = 1 + len(codec.schema["shop"].categories)
        for rows in (1, 2):
            assert codec.encode_partial({"shop": ["(other)"] * rows}, rows).tokens[0, 0] == first

    @pytest.mark.parametrize("given", ["shop 199", "nowhere"])
    def test_one_that_is_kept_nowhere_is_outside(self, codec: Codec, given: str) -> None:
        assert Counter(table()["shop"].present().tolist())[given] < 5
        for rows in (1, 3):
            encoded = codec.encode_partial({"shop": [given] * rows}, rows)
            first = 1 + len(codec.schema["shop"].categories)
            assert encoded.tokens[:, 0].tolist() == [first] * rows
            assert encoded.observed[:, 0].all()
            assert encoded.outside is not None
            assert encoded.outside.totals == {("shop", OutsideKind.CATEGORY): rows}
            assert {each.conditioned_on for each in encoded.outside.first} == {"(other)"}
            assert "in fewer than 5 rows that were learnt" in encoded.outside.notices[0]

    def test_places_beyond_the_last_are_none(self, codec: Codec) -> None:
        numbers = np.full((3, len(NAMES)), np.nan)
        most = len(codec.rows.labels[0])
        numbers[:, 0] = most - 1, most, most - 1.5
        tokens, unknown = codec.rows.encode(numbers)
        assert unknown is not None
        assert unknown[:, 0].tolist() == [False, True, True]
        assert tokens[0, 0] == codec.layout.sizes[0] - 1


class TestKept:
    def test_a_codec_comes_back_from_text(self) -> None:
        codec = fitted()
        back = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
        assert back.to_dict() == codec.to_dict()
        assert decoded(back, 500).to_rows() == decoded(codec, 500).to_rows()

    def test_what_was_seen_fewer_times_than_min_count_is_nowhere_in_it(self) -> None:
        values = ["shop"] * 9 + ["Ada Lovelace"] * 4 + ["Bank"] * 7 + ["Alan Turing"]
        for override in (
            FEW,
            ColumnOverride(max_categories=2),
            ColumnOverride(rare=Rare.KEEP_FOLDED),
        ):
            text = json.dumps(one(values, override).to_dict())
            assert "shop" in text
            assert "Lovelace" not in text
            assert "Turing" not in text

    @pytest.mark.parametrize(
        "change",
        [
            {"counts": [5]},
            {"categories": [], "counts": []},
            {"categories": ["b", "b"]},
            {"categories": ["b", "a"]},
            {"categories": ["b", "(other)"]},
            {"categories": ["b", 3]},
            {"counts": [5, 0]},
            {"counts": [2**62, 2**62]},
            {"counts": [5, "6"]},
            {"groups": []},
            {"groups": [1]},
            {"groups": [3, -1]},
            {"groups": [-1, 3]},
            {"groups": [0, 2, 0]},
            {"groups": [0]},
        ],
    )
    def test_what_does_not_fit_is_refused(self, change: dict[str, Any]) -> None:
        codec = one(["a"] * 9 + ["b"] * 8 + ["c"] * 7, ColumnOverride(max_categories=2))
        content = codec.to_dict()
        content["columns"][0]["folded"] = FOLDED | change
        with pytest.raises(SchemaError, match=r"column 'a': \d folded categories with \d counts"):
            Codec.from_dict(content)

    def test_those_that_are_one_group_have_no_entry_for_it(self) -> None:
        """So that a codec which was written before there were groups comes back as it was."""
        content = one(["a"] * 9 + ["b"] * 8 + ["c"] * 7, ColumnOverride(max_categories=2)).to_dict()
        assert content["columns"][0]["folded"] == FOLDED
        assert Codec.from_dict(content).to_dict() == content


class TestKeptNowhere:
    """Rows whose category is kept nowhere: who is in one or two rows of a table."""

    ROWS = 6_000

    def frame(self, alone: int) -> Frame:
        """Sixty shops of 2 kinds that amounts tell apart, and so many rows with a shop each."""
        rng = np.random.default_rng(3)
        shop = rng.integers(0, 60, self.ROWS)
        names = np.array([f"shop {of}" for of in shop], object)
        names[:alone] = [f"stall {row}" for row in range(alone)]
        amount = rng.normal(5.0 * (shop % 2), 1.0)
        none = np.zeros(self.ROWS, bool)
        return Frame({"shop": ColumnData(names, none), "amount": ColumnData(amount, none)})

    def fit(self, frame: Frame) -> Codec:
        return Codec.fit(infer_schema(frame, {"shop": ColumnOverride(max_categories=16)}), frame)

    def test_many_have_a_token_of_their_own_for_which_any_is_drawn(self) -> None:
        """Else the few categories that share it would be in answers far too often."""
        frame = self.frame(alone=3_000)
        codec = self.fit(frame)
        tokens = codec.encode(frame)
        other = len(codec.schema["shop"].categories)
        assert (tokens[:3_000, 0] == other).all()
        assert (tokens[3_000:, 0] != other).all()
        given = codec.encode_partial({"shop": ["nowhere"]}, 1)
        assert given.tokens[0, 0] == other
        assert given.observed[0, 0]
        answers = codec.decode(tokens, np.random.default_rng(0))["shop"].values.tolist()
        assert set(answers) <= {f"shop {of}" for of in range(60)}
        seen, found = Counter(frame["shop"].values[3_000:].tolist()), Counter(answers)
        for shop in codec.to_dict()["columns"][0]["folded"]["categories"]:
            # As often as in the table, and as often again as its share of those that fold.
            share = seen[shop] * 3_000 / sum(tokens[3_000:, 0] > other)
            expected = seen[shop] + share
            assert abs(found[shop] - expected) < 6 * np.sqrt(expected), shop
        back = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
        assert back.decode(tokens, np.random.default_rng(0))["shop"].values.tolist() == answers

    def test_a_few_have_that_of_those_most_like_all(self) -> None:
        """A token of two rows would teach nothing of what a new shop goes with."""
        frame = self.frame(alone=2)
        codec = self.fit(frame)
        tokens = codec.encode(frame)
        other = len(codec.schema["shop"].categories)
        assert (tokens[:2, 0] == other).all()
        assert (tokens[2:, 0] == other).any()

    @pytest.mark.parametrize("alone", [2, 3_000])
    def test_every_way_reads_and_writes_the_same(self, alone: int) -> None:
        frame = self.frame(alone)
        codec = self.fit(frame)
        tokens = codec.encode(frame)[:400]
        numbers = np.zeros((400, 2))
        rng = np.random.default_rng(7)
        where = np.ones(numbers.shape, bool)
        codec.rows.decode(tokens, numbers, None, where, lambda of: rng.random((len(of), 400)))
        decoded = codec.decode(tokens, np.random.default_rng(7))
        names = decoded["shop"].values.tolist()
        assert [codec.rows.labels[0][int(place)] for place in numbers[:, 0]] == names
        many, _ = codec.rows.encode(numbers)
        again = codec.encode(decoded)
        alone_each = [codec.encode_partial({"shop": [n]}, 1).tokens[0, 0] for n in names]
        assert many[:, 0].tolist() == again[:, 0].tolist() == alone_each


class TestDraw:
    """Which category a number stands for."""

    COUNTS = (70_001, 333, 332, 17, 5, 5)
    NAMES = ("a", "b", "c", "d", "e", "f")

    def test_of_one_group_it_is_where_shares_of_all_rows_reach_it(self) -> None:
        """To the last bit: releases of before there were groups answer as they did."""
        folded = FoldedCategories(self.NAMES, self.COUNTS)
        shares = np.cumsum(np.array(self.COUNTS, np.float64)) / sum(self.COUNTS)
        edges = [shares[:-1], np.nextafter(shares[:-1], 0), np.nextafter(shares[:-1], 1)]
        uniform = np.concatenate([[0.0], *edges, np.random.default_rng(0).random(100_000)])
        places = folded.draw(np.zeros(len(uniform), np.intp), uniform)
        np.testing.assert_array_equal(places, shares.searchsorted(uniform, "right"))
        for number in uniform[:20].tolist():
            place = int(shares.searchsorted(number, "right"))
            assert folded.draw_one(0, number) == self.NAMES[place]

    def test_of_several_it_stays_inside_of_its_own(self) -> None:
        folded = FoldedCategories(self.NAMES, self.COUNTS, [1, 2, 3])
        for uniform in (0.0, 0.5, np.nextafter(1, 0)):
            places = folded.draw(np.arange(3), np.full(3, uniform))
            assert [self.NAMES[place] for place in places] == [
                folded.draw_one(group, float(uniform)) for group in range(3)
            ]
            first = np.searchsorted(folded.begin, places, "right") - 1
            assert first.tolist() == [0, 1, 2]

    def test_of_the_first_that_has_none_it_is_any_of_them(self) -> None:
        folded = FoldedCategories(self.NAMES, self.COUNTS, [0, 1, 5])
        shares = np.cumsum(np.array(self.COUNTS, np.float64)) / sum(self.COUNTS)
        uniform = np.random.default_rng(0).random(10_000)
        places = folded.draw(np.zeros(len(uniform), np.intp), uniform)
        np.testing.assert_array_equal(places, shares.searchsorted(uniform, "right"))
        assert [folded.draw_one(0, number) for number in uniform[:50].tolist()] == [
            self.NAMES[place] for place in places[:50]
        ]
        assert set(folded.draw(np.ones(100, np.intp), uniform[:100])) == {0}

    def test_of_several_it_is_by_frequency_there(self) -> None:
        folded = FoldedCategories(self.NAMES, self.COUNTS, [1, 2, 3])
        uniform = np.random.default_rng(0).random(40_000)
        share = (folded.draw(np.full(len(uniform), 2), uniform) == 3).mean()
        expected = 17 / 27
        # Five standard deviations.
        assert share == pytest.approx(expected, abs=5 * np.sqrt(expected * (1 - expected) / 40_000))
