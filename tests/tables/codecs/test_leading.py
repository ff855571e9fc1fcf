"""Columns of few values that numbers follow from have the first slots, and are drawn first."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cascade_tables import (
    ABSENT,
    Codec,
    Frame,
    SchemaError,
    TokenLayout,
    find_relations,
    infer_schema,
    measure_formula,
)
from cascade_tables.codecs.layout import Mark

from tests import ledgers

PAID = "total = deductible + paid"


def marks_of(name: str) -> list[Mark]:
    codec = ledgers.settlements_codec()
    place = codec.schema.names.index(name)
    return [mark for mark in codec.layout.marks if mark.column == place]


def without_order() -> Codec:
    """As releases were made before."""
    content = ledgers.settlements_codec().to_dict()
    del content["leading"], content["evident"]
    return Codec.from_dict(content)


def test_it_has_the_first_slot_and_no_mark() -> None:
    codec = ledgers.settlements_codec()
    (found,) = codec.schema.relations
    assert set(found.formula.columns) == {"total", "deductible", "paid"}
    assert codec.schema.names == ("kind", "total", "paid", "deductible")
    assert codec.leading == ("deductible",)
    assert codec.layout.column == (3, 0, 1, 1, 2, 2)
    assert codec.layout.leading == 1
    assert codec.layout.turn == (1, 2, 3, 0)
    assert codec.layout.first_slot.tolist() == [1, 2, 4, 0]
    assert marks_of("deductible") == []
    assert [mark.slot for mark in marks_of("total") + marks_of("paid")] == [2, 4]


def test_columns_that_nothing_follows_from_stay_where_they_are() -> None:
    codec = ledgers.codec()
    assert codec.leading == ()
    assert codec.layout.leading == 0
    assert list(codec.layout.column) == sorted(codec.layout.column)
    assert "leading" not in codec.to_dict()


def test_rows_come_back_with_each_column_its_own_values() -> None:
    codec, frame = ledgers.settlements_codec(), ledgers.settlements(500, seed=8)
    tokens = codec.encode(frame)
    assert tokens.shape == (500, 6)
    drawn = codec.decode(tokens, np.random.default_rng(0))
    for name in ("kind", "deductible"):
        assert np.array_equal(drawn[name].values, frame[name].values)
    bins = np.abs(drawn["total"].values - frame["total"].values)
    # A coarse bin is a 64th of 8,000 in width.
    assert bins.max() < 2 * 8_000 / 64


@pytest.mark.parametrize("rows", [1, 200])
def test_values_of_callers_have_the_same_tokens(rows: int) -> None:
    codec, frame = ledgers.settlements_codec(), ledgers.settlements(rows, seed=9)
    columns = {name: frame[name].values.tolist() for name in codec.schema.names}
    plain = without_order()
    slots = [plain.layout.column.index(column) for column in codec.layout.column]
    for slot in range(1, len(slots)):
        slots[slot] += codec.layout.column[slot] == codec.layout.column[slot - 1]
    for asked in (columns, {"deductible": columns["deductible"], "kind": [ABSENT] * rows}):
        found, expected = codec.encode_partial(asked, rows), plain.encode_partial(asked, rows)
        # A total that is given whole has its mark on another column without the order.
        same = [slot for slot in range(6) if codec.layout.column[slot] in (0, 1, 3)]
        before = [slots[slot] for slot in same]
        assert np.array_equal(found.tokens[:, same], expected.tokens[:, before])
        assert np.array_equal(found.observed, expected.observed[:, slots])


@pytest.mark.parametrize("rows", [1, 3])
def test_given_numbers_are_marked_on_the_last_that_is_binned(rows: int) -> None:
    """Without the order the deductible would be last, which has no mark to say so."""
    codec = ledgers.settlements_codec()
    (mark,) = marks_of("paid")
    values = {"total": [900.0] * rows, "paid": [649.5] * rows, "deductible": [250.5] * rows}
    tokens = codec.encode_partial(values, rows).tokens
    assert (tokens[:, mark.slot] == mark.token).all()
    values["paid"] = [649.51] * rows
    tokens = codec.encode_partial(values, rows).tokens
    assert (tokens[:, mark.slot] < mark.token).all()


def test_a_mark_is_the_sum_with_what_was_drawn() -> None:
    codec, rng = ledgers.settlements_codec(), np.random.default_rng(2)
    sizes = np.array(codec.layout.sizes)
    tokens = rng.integers(0, sizes, (1_000, len(sizes)), np.int32)
    (mark,) = marks_of("paid")
    tokens[:, mark.slot] = mark.token
    tokens[:, marks_of("total")[0].slot] = 10
    frame = codec.decode(tokens, rng)
    (found,) = codec.schema.relations
    inside = (frame["total"].values - frame["deductible"].values) >= 0.01
    assert inside.mean() > 0.9
    outcome = measure_formula(found.formula, found.decimals, frame.take(np.flatnonzero(inside)))
    assert outcome.share == 1


class TestEvident:
    """A deductible that total and payment make to the cent."""

    @pytest.mark.parametrize("deductible", [100.0, 250.5, 500.0, 1000.0])
    def test_it_is_what_given_numbers_make_of_it(self, deductible: float) -> None:
        codec, rng = ledgers.settlements_codec(), np.random.default_rng(0)
        values = {"total": [4321.99], "paid": [round(4321.99 - deductible, 2)]}
        encoded = codec.encode_partial(values, 1)
        for token in range(codec.layout.sizes[0]):
            tokens = encoded.tokens.copy()
            tokens[0, 0] = token
            one = codec.decode_row(tokens[0].tolist(), rng, ["deductible"], values)
            assert one == {"deductible": deductible}
            many = codec.decode_columns(tokens.repeat(3, axis=0), rng, ["deductible"], values)
            assert many["deductible"].values.tolist() == [deductible] * 3

    @pytest.mark.parametrize(
        "values", [{"total": [4321.99], "paid": [4221.98]}, {"total": [4321.99]}, {}]
    )
    def test_else_it_is_what_was_drawn(self, values: dict[str, list[float]]) -> None:
        codec, rng = ledgers.settlements_codec(), np.random.default_rng(0)
        tokens = codec.encode_partial(values, 1).tokens.copy()
        tokens[0, 0] = 2
        one = codec.decode_row(tokens[0].tolist(), rng, ["deductible"], values)
        assert one == {"deductible": 500.0}

    def test_what_is_given_stays(self) -> None:
        codec, rng = ledgers.settlements_codec(), np.random.default_rng(0)
        values = {"total": [4321.99], "paid": [4221.99], "deductible": [500.0]}
        tokens = codec.encode_partial(values, 1).tokens
        one = codec.decode_row(tokens[0].tolist(), rng, ["deductible"], values)
        assert one == {"deductible": 500.0}

    def test_values_that_chance_makes_are_none(self) -> None:
        """Tips of 1 to 20, where a fare and what was paid are whole numbers as well."""
        rng = np.random.default_rng(1)
        fare, tip = rng.integers(30, 400, 4_000), rng.integers(1, 21, 4_000)
        paid = np.where(rng.random(4_000) < 0.5, fare + tip, fare + rng.integers(1, 300, 4_000))
        frame = Frame.from_pandas(pd.DataFrame({"fare": fare, "tip": tip, "paid": paid}))
        plain = infer_schema(frame)
        codec = Codec.fit(replace(plain, relations=find_relations(frame, plain)), frame)
        assert [str(each.formula) for each in codec.schema.relations] == ["paid = fare + tip"]
        assert codec.leading == ("tip",)
        assert "evident" not in codec.to_dict()


class TestReleases:
    def test_it_is_kept(self) -> None:
        codec = ledgers.settlements_codec()
        again = Codec.from_dict(json.loads(json.dumps(codec.to_dict())))
        assert again.layout.to_dict() == codec.layout.to_dict()
        layout = TokenLayout.from_dict(json.loads(json.dumps(codec.layout.to_dict())))
        assert layout.to_dict() == codec.layout.to_dict()

    def test_those_from_before_have_their_slots_in_the_schemas_order(self) -> None:
        before = without_order()
        assert before.layout.column == (0, 1, 1, 2, 2, 3)
        assert before.layout.leading == 0
        assert before.layout.turn == (0, 1, 2, 3)
        assert "leading" not in before.to_dict()
        content = before.layout.to_dict()
        del content["leading"]
        assert TokenLayout.from_dict(content).leading == 0

    @pytest.mark.parametrize("leading", [["premium"], [3]])
    def test_columns_that_there_are_not_are_refused(self, leading: list[object]) -> None:
        content = ledgers.settlements_codec().to_dict() | {"leading": leading}
        with pytest.raises(SchemaError, match=f"{leading[0]!r}"):
            Codec.from_dict(content)

    @pytest.mark.parametrize("wrong", [[0, "paid"], [7, "deductible"], ["deductible", 0], [0]])
    def test_what_cannot_be_evident_is_refused(self, wrong: list[object]) -> None:
        content = ledgers.settlements_codec().to_dict() | {"evident": [wrong]}
        with pytest.raises(SchemaError, match="no relation of this codec's"):
            Codec.from_dict(content)

    def test_those_from_before_say_nothing_of_what_is_evident(self) -> None:
        before, rng = without_order(), np.random.default_rng(0)
        values = {"total": [4321.99], "paid": [4221.99]}
        tokens = before.encode_partial(values, 1).tokens.copy()
        tokens[0, -1] = 2
        one = before.decode_row(tokens[0].tolist(), rng, ["deductible"], values)
        assert one == {"deductible": 500.0}
