"""Where a relation always holds, a number is exactly what the others say, however it is decoded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cascade_tables import ABSENT, Frame, measure_formula

from tests import ledgers
from tests.tables.codecs.following.claims import (
    CLOSED,
    PAID,
    TOTAL,
    column,
    drawn_tokens,
    relation,
    rows_of,
    with_given,
)

CENTS = 100


def kept(drawn: dict[str, Any], values: dict[str, list[Any]]) -> Frame:
    """What a caller gets: the given values where there are any, else what was drawn."""
    out = {}
    for name, data in drawn.items():
        cells = data.values.copy()
        null = data.null.copy()
        for row, value in enumerate(values.get(name, [])):
            if value is not ABSENT:
                null[row] = value is None
                if value is not None:
                    cells[row] = np.datetime64(value, "us") if cells.dtype.kind == "M" else value
        out[name] = type(data)(cells, null, data.dtype)
    return Frame(out)


def violations(text: str, frame: Frame) -> int:
    found = relation(text)
    return measure_formula(found.formula, found.decimals, frame).violations


def test_the_ledger_has_what_these_tests_are_about() -> None:
    assert relation(TOTAL).always
    assert relation(CLOSED).always
    assert not relation(PAID).always


class TestWhatAlwaysHolds:
    def test_of_rows_that_were_drawn_whole(self) -> None:
        rows = ledgers.codec().decode(drawn_tokens(3_000, 0), np.random.default_rng(1))
        assert violations(TOTAL, rows) == 0
        assert violations(CLOSED, rows) == 0

    @pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
    def test_whatever_is_given_of_real_rows(self, share: float) -> None:
        codec, real = ledgers.codec(), ledgers.claims(2_000, seed=9)
        known = np.random.default_rng(2).random((2_000, len(codec.columns))) < share
        values = rows_of(real, known)
        tokens = with_given(drawn_tokens(2_000, 3), values)
        drawn = codec.decode_columns(tokens, np.random.default_rng(4), codec.schema.names, values)
        answer = kept(drawn, values)
        assert violations(TOTAL, answer) == 0
        assert violations(CLOSED, answer) == 0

    @pytest.mark.parametrize("missing", ["injury", "vehicle", "total"])
    def test_any_of_its_columns_follows_from_the_others(self, missing: str) -> None:
        values: dict[str, list[Any]] = {"injury": [10.1], "vehicle": [0.2], "total": [10.3]}
        expected = values.pop(missing)
        tokens = with_given(drawn_tokens(1, 5), values)
        codec = ledgers.codec()
        drawn = codec.decode_columns(tokens, np.random.default_rng(0), [missing], values)
        assert drawn[missing].values.tolist() == expected
        one = codec.decode_row(tokens[0].tolist(), np.random.default_rng(0), [missing], values)
        assert one[missing] == expected[0]

    @pytest.mark.parametrize("missing", ["opened", "days", "closed"])
    def test_of_dates_and_days(self, missing: str) -> None:
        day = 86_400_000_000
        opened = int(np.datetime64("2024-03-01", "us").astype(np.int64))
        values: dict[str, list[Any]] = {
            "opened": [opened],
            "days": [30],
            "closed": [opened + 30 * day],
        }
        (expected,) = values.pop(missing)
        tokens = with_given(drawn_tokens(1, 6), values)
        one = ledgers.codec().decode_row(
            tokens[0].tolist(), np.random.default_rng(0), [missing], values
        )
        assert one[missing] == expected

    def test_a_given_row_is_said_once_for_all_its_draws(self) -> None:
        codec = ledgers.codec()
        values = {"injury": [10.1, 20.0], "total": [10.3, 21.0]}
        tokens = drawn_tokens(6, 7)
        drawn = codec.decode_columns(tokens, np.random.default_rng(0), ["vehicle"], values)
        assert drawn["vehicle"].values.tolist() == [0.2] * 3 + [1.0] * 3

    def test_what_is_not_asked_for_is_the_same_number_all_the_same(self) -> None:
        """`total` alone is the sum of parts that nobody asked for."""
        codec, tokens = ledgers.codec(), drawn_tokens(500, 8)
        values = {"injury": [12.0] * 500}
        tokens = with_given(tokens, values)
        drawn = codec.decode_columns(tokens, np.random.default_rng(0), ["total"], values)
        column_of = codec.schema.columns[column("vehicle")]
        rest = drawn["total"].values - 12.0
        assert column_of.minimum is not None
        assert (rest >= column_of.minimum - 1e-6).all()

    def test_numbers_stay_within_what_was_learnt_where_nothing_contradicts(self) -> None:
        codec = ledgers.codec()
        rows = codec.decode(drawn_tokens(3_000, 10), np.random.default_rng(11))
        for name in ("injury", "vehicle"):
            bounds = codec.schema.columns[column(name)]
            within = (rows[name].values >= bounds.minimum) & (rows[name].values <= bounds.maximum)
            assert within.mean() > 0.9, name

    def test_numbers_that_contradict_each_other_are_no_error(self) -> None:
        values = {"injury": [500.0], "total": [1.0]}
        tokens = with_given(drawn_tokens(1, 12), values)
        one = ledgers.codec().decode_row(
            tokens[0].tolist(), np.random.default_rng(0), ["vehicle"], values
        )
        assert one["vehicle"] == -499.0

    @pytest.mark.parametrize("odd", [1e300, -1e300, 0.12345678])
    def test_numbers_of_which_no_sum_is_exact_leave_the_others_as_drawn(self, odd: float) -> None:
        values = {"injury": [odd], "total": [10.3]}
        tokens = with_given(drawn_tokens(1, 13), values)
        one = ledgers.codec().decode_row(
            tokens[0].tolist(), np.random.default_rng(0), ["vehicle"], values
        )
        bounds = ledgers.schema().columns[column("vehicle")]
        assert bounds.minimum <= one["vehicle"] <= bounds.maximum


class TestNumbers:
    """What Triton's models and the embedded server share: rows as numbers."""

    def test_they_are_computed_as_columns_are(self) -> None:
        codec, real = ledgers.codec(), ledgers.claims(300, seed=21)
        known = np.random.default_rng(22).random((300, len(codec.columns))) < 0.4
        values = rows_of(real, known)
        tokens = with_given(drawn_tokens(300, 23), values)
        drawn = codec.decode_columns(tokens, np.random.default_rng(24), codec.schema.names, values)
        plain = codec._drawn_rows.by_tokens(tokens, np.random.default_rng(24), codec.schema.names)
        expected = kept(drawn, values)
        numbers = np.stack(
            [codec.rows.to_numbers(at, kept(plain, values)[n]) for at, n in enumerate(plain)],
            axis=1,
        )
        codec.compute(tokens, numbers, ~known)
        for at, name in enumerate(codec.schema.names):
            want = codec.rows.to_numbers(at, expected[name])
            np.testing.assert_array_equal(numbers[:, at], want, err_msg=name)
