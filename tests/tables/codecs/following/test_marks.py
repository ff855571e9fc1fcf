"""Marks: where a relation holds in some rows, a token that says that it does."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cascade_tables import (
    ABSENT,
    Codec,
    Frame,
    Kind,
    SchemaError,
    ValueNotAllowed,
    find_relations,
    infer_schema,
    measure_formula,
)
from cascade_tables.codecs.columns.binned_codec import FINE, ROUGH, BinnedCodec
from cascade_tables.codecs.following.given_marks import FEW
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import ledgers
from tests.tables.codecs.following.claims import (
    CLOSED,
    PAID,
    TOTAL,
    column,
    drawn_tokens,
    number_of,
    relation,
    rows_of,
    with_given,
)


@cache
def seldom_codec() -> Codec:
    """The ledger's, as if no relation always held: every one has marks."""
    schema = ledgers.schema()
    seldom = tuple(replace(each, always=False) for each in schema.relations)
    codec = Codec.fit(replace(schema, relations=seldom), ledgers.claims())
    assert {mark.relation for mark in codec.layout.marks} == {*range(len(seldom))}
    return codec


def first_row(codec: Codec, values: dict[str, list[Any]], rows: int) -> tuple[Any, ...]:
    """What becomes of the first of some rows: its tokens and which are observed, or which column
    is refused and what it allows."""
    try:
        encoded = codec.encode_partial(values, rows)
    except ValueNotAllowed as refused:
        return refused.column, refused.allowed
    return encoded.tokens[0].tolist(), encoded.observed[0].tolist()


class TestMarks:
    def test_where_they_are(self) -> None:
        """In each binned column of a relation that holds in some rows, behind the bins."""
        marks = [m for m in ledgers.codec().layout.marks if m.relation == number_of(PAID)]
        assert {mark.column for mark in marks} == {column("total"), column("paid")}
        for mark in marks:
            codec = ledgers.codec().columns[mark.column]
            assert isinstance(codec, BinnedCodec)
            assert codec.marks_from <= mark.token < codec.sizes[0]
            assert ledgers.codec().layout.role[mark.slot] == "coarse"
            assert {mark.column, *mark.others} == {column("total"), column("paid")}

    def test_none_of_what_always_holds(self) -> None:
        always = {number_of(TOTAL), number_of(CLOSED)}
        assert always.isdisjoint(mark.relation for mark in ledgers.codec().layout.marks)

    def test_a_marked_number_is_what_the_relation_says(self) -> None:
        codec, values = ledgers.codec(), {"injury": [10.1], "vehicle": [0.2], "total": [10.3]}
        (mark,) = (
            m
            for m in codec.layout.marks
            if (m.relation, m.column) == (number_of(PAID), column("paid"))
        )
        tokens = with_given(drawn_tokens(1, 14), values)
        tokens[0, mark.slot] = mark.token
        one = codec.decode_row(tokens[0].tolist(), np.random.default_rng(0), ["paid"], values)
        assert one["paid"] == 10.3

    def test_marks_that_contradict_what_always_holds_give_way(self) -> None:
        """`paid` is given, so are the parts: the total is their sum, whatever a mark says."""
        codec = ledgers.codec()
        values = {"injury": [10.1], "vehicle": [0.2], "paid": [77.0]}
        (mark,) = (
            m
            for m in codec.layout.marks
            if (m.relation, m.column) == (number_of(PAID), column("total"))
        )
        tokens = with_given(drawn_tokens(1, 15), values)
        tokens[0, mark.slot] = mark.token
        one = codec.decode_row(tokens[0].tolist(), np.random.default_rng(0), ["total"], values)
        assert one["total"] == 10.3

    def test_a_mark_that_has_to_give_way_is_kept_by_another_column(self) -> None:
        """The total is the sum of the given parts; what was paid, which was drawn, is the total."""
        codec = ledgers.codec()
        values = {"injury": [10.1], "vehicle": [0.2]}
        (mark,) = (
            m
            for m in codec.layout.marks
            if (m.relation, m.column) == (number_of(PAID), column("total"))
        )
        tokens = with_given(drawn_tokens(1, 15), values)
        paid = codec.columns[column("paid")]
        assert isinstance(paid, BinnedCodec)
        tokens[0, codec.layout.first_slot[column("paid")]] = paid.bins_from + 40
        tokens[0, mark.slot] = mark.token
        names = ["total", "paid"]
        one = codec.decode_row(tokens[0].tolist(), np.random.default_rng(0), names, values)
        assert one == {"total": 10.3, "paid": 10.3}

    def test_who_waits_for_sums_that_wait_for_each_other_goes_last(self) -> None:
        """The total is said to be its one part that is not zero, the part what is left of the
        total; what was paid is the total that comes out."""
        rng = np.random.default_rng(20)
        part, zero = rng.integers(1, 90_000, 4_000), rng.random(4_000) < 0.5
        other = np.where(zero, 0, rng.integers(1, 300_000, 4_000))
        total = part + other
        paid = np.where(rng.random(4_000) < 0.8, total, rng.integers(1, 400_000, 4_000))
        table = {"paid": paid, "total": total, "part": part, "other": other}
        frame = Frame.from_pandas(pd.DataFrame(table) / 100)
        plain = infer_schema(frame)
        schema = replace(plain, relations=find_relations(frame, plain))
        codec = Codec.fit(schema, frame)
        formulas = [str(each.formula) for each in schema.relations]
        assert {"total = part + other", "paid = total", "total = part"} <= set(formulas)
        tokens = codec.encode(frame.take(np.flatnonzero(zero)[:500]))
        for text, name in (("paid = total", "paid"), ("total = part", "total")):
            (mark,) = (
                m
                for m in codec.layout.marks
                if (m.relation, m.column) == (formulas.index(text), schema.names.index(name))
            )
            tokens[:, mark.slot : mark.slot + 2] = mark.token, FINE + 2
        drawn = codec.decode(tokens, np.random.default_rng(0))
        assert np.array_equal(drawn["paid"].values, drawn["total"].values)
        assert np.array_equal(drawn["part"].values, drawn["total"].values)

    def test_a_mark_beyond_the_bounds_is_a_place_in_its_part_of_the_column(self) -> None:
        codec, values = ledgers.codec(), {"total": [1e7]}
        (mark,) = (
            m
            for m in codec.layout.marks
            if (m.relation, m.column) == (number_of(PAID), column("paid"))
        )
        tokens = with_given(drawn_tokens(1, 16), values)
        tokens[0, mark.slot : mark.slot + 2] = mark.token, FINE + 3
        rng = np.random.default_rng(0)
        found = [codec.decode_row(tokens[0].tolist(), rng, ["paid"], values) for _ in range(200)]
        own = codec.columns[column("paid")]
        assert isinstance(own, BinnedCodec)
        part = len(own.edges) // ROUGH
        low, high = own.edges[3 * part], own.edges[4 * part]
        numbers = np.array([row["paid"] for row in found])
        assert ((numbers >= low) & (numbers <= high)).all()
        assert np.ptp(numbers) > 0.8 * (high - low)

    def test_a_sum_that_one_column_cannot_have_another_has(self) -> None:
        """`reserve = paid - injury` would be negative; what was paid is what is drawn anew."""
        codec, values = ledgers.codec(), {"injury": [899.0]}
        number = number_of("reserve = paid - injury")
        (mark,) = (
            m for m in codec.layout.marks if (m.relation, m.column) == (number, column("reserve"))
        )
        tokens = with_given(drawn_tokens(1, 17), values)
        paid = codec.layout.column.index(column("paid"))
        own = codec.columns[column("paid")]
        assert isinstance(own, BinnedCodec)
        tokens[0, paid] = own.bins_from
        tokens[0, mark.slot : mark.slot + 2] = mark.token, FINE
        names = ["paid", "reserve"]
        one = codec.decode_row(tokens[0].tolist(), np.random.default_rng(0), names, values)
        assert one["reserve"] >= 0
        assert round(one["paid"] - one["reserve"], 2) == 899.0

    def test_given_rows_have_the_mark_of_the_last_column(self) -> None:
        codec = ledgers.codec()
        numbers = {"total": [10.3, 10.3, 10.3], "paid": [10.3, 10.4, ABSENT]}
        tokens = codec.encode_partial(numbers, 3).tokens
        (mark,) = (
            m
            for m in codec.layout.marks
            if (m.relation, m.column) == (number_of(PAID), column("paid"))
        )
        assert (tokens[:, mark.slot] == mark.token).tolist() == [True, False, False]
        assert FINE <= tokens[0, mark.slot + 1] < FINE + ROUGH

    @settings(max_examples=40)
    @given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1))
    def test_a_row_alone_is_the_row_among_others(self, seed: int, share: float) -> None:
        """Encoded and decoded, on the way for one row and on that for several."""
        codec, rng = ledgers.codec(), np.random.default_rng(seed)
        real = ledgers.claims().take(rng.integers(0, ledgers.ROWS, 3))
        known = rng.random((3, len(codec.columns))) < share
        values = rows_of(real, known)
        together = codec.encode_partial(values, 3)
        tokens = np.where(together.observed, together.tokens, drawn_tokens(3, seed))
        for row in range(3):
            alone = {name: cells[row : row + 1] for name, cells in values.items()}
            encoded = codec.encode_partial(alone, 1)
            assert np.array_equal(encoded.tokens[0], together.tokens[row])
            names = [n for n in codec.schema.names if alone[n][0] is ABSENT]
            columns = codec.decode_columns(
                tokens[row : row + 1], np.random.default_rng(seed), names, alone
            )
            cells = codec.decode_row(
                tokens[row].tolist(), np.random.default_rng(seed), names, alone
            )
            for name in names:
                data = columns[name]
                is_date = codec.kinds[name] is Kind.DATETIME
                value = (data.values.astype(np.int64) if is_date else data.values)[0]
                assert cells[name] == (None if data.null[0] else value)

    @pytest.mark.parametrize(
        "value",
        [10**400, -(10**400), 2**63, 10**300, 1e300, math.inf, -math.inf, math.nan, 0.5],
        ids=lambda value: f"{Decimal(value):.3g}",
    )
    @pytest.mark.parametrize("name", ["total", "paid", "days", "opened", "closed"])
    @pytest.mark.parametrize("rows", [2, FEW + 1])
    def test_numbers_that_no_column_has_are_told_alike_of_one_row_and_of_several(
        self, name: str, value: float | int, rows: int
    ) -> None:
        """Whether a relation holds of a row is asked of what its columns can hold, and of nothing
        else that a caller may send."""
        alone = rows_of(ledgers.claims().take(np.array([7]))) | {name: [value]}
        several = {column: cells * rows for column, cells in alone.items()}
        assert first_row(seldom_codec(), alone, 1) == first_row(seldom_codec(), several, rows)

    def test_they_are_kept_with_the_codec(self) -> None:
        content = json.loads(json.dumps(ledgers.codec().to_dict()))
        again = Codec.from_dict(content)
        assert again.layout.marks == ledgers.codec().layout.marks
        assert again.layout.sizes == ledgers.codec().layout.sizes

    @pytest.mark.parametrize("wrong", [99, -1, "total"])
    def test_marks_of_no_relation_are_refused(self, wrong: Any) -> None:
        content = json.loads(json.dumps(ledgers.codec().to_dict()))
        content["columns"][column("paid")]["marks"] = [wrong]
        with pytest.raises(SchemaError, match="'paid' has a mark of relation"):
            Codec.from_dict(content)

    def test_rows_to_learn_from_have_a_flag_a_relation(self) -> None:
        codec, real = ledgers.codec(), ledgers.claims()
        rows = codec.learnable(real)
        slots = len(codec.layout.sizes)
        assert np.array_equal(rows[:, :slots], codec.encode(real))
        found = relation(PAID)
        expected = measure_formula(found.formula, found.decimals, real).counts
        assert np.array_equal(rows[:, slots + number_of(PAID)], expected)
