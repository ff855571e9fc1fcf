"""Numbers of persons, phones and accounts are left out, and none of them is in a release."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cascade_tables import ColumnOverride, Kind, infer_schema

from tests.tables.inferred import frame, left_out, shuffled

FIRST = 10**8


def numbers(rows: int, low: int = FIRST, high: int = 10 * FIRST, seed: int = 0) -> Any:
    """Whole numbers that all differ, of which chance makes no less."""
    drawn = np.random.default_rng(seed).integers(low, high, 3 * rows + 60)
    return shuffled(np.unique(drawn))[:rows]


def reason(name: str, values: Any, **override: Any) -> str:
    """Why a column of this name is left out; empty if it is kept."""
    table = frame(**{name: values, "kept": [i % 2 for i in range(len(values))]})
    overrides = {name: ColumnOverride(**override)} if override else {}
    return next((dropped.reason for dropped in infer_schema(table, overrides).dropped), "")


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "customer_id",
            "ssn",
            "SSN",
            "phone",
            "homePhone",
            "iban",
            "passport_no",
            "accountNumber",
            "cell_phone",
            "fax",
            "IMEI",
            "tax_number",
            "vatid",
            "mrn",
            "credit_card",
            "acct",
        ],
    )
    def test_numbers_that_hardly_repeat(self, name: str) -> None:
        values = numbers(40, 10, 10**6)
        assert reason(name, values).startswith("identifier: named ")
        repeated = np.append(values, values[0])
        assert "40 of 41 values differ" in reason(name, repeated)

    @pytest.mark.parametrize("name", ["account_balance", "card_spent", "phone_minutes", "x", "gid"])
    def test_how_much_of_something_there_is_and_other_names(self, name: str) -> None:
        assert reason(name, np.append(numbers(40, 10, 10**6), 11)) == ""

    def test_numbers_that_repeat_are_kept(self) -> None:
        values = numbers(40, 10, 10**6)
        assert reason("customer_id", np.append(values, values[:4])) == ""


class TestLongNumbers:
    @pytest.mark.parametrize("rows", [50, 5_000])
    @pytest.mark.parametrize("low", [FIRST, 0])
    def test_as_long_as_those_of_persons(self, rows: int, low: int) -> None:
        """Where one in ten has lost the zero before it, too, and where one was entered twice."""
        values = numbers(rows, low)
        assert left_out(values) == f"identifier: all {rows:,} values differ, of 9 digits"
        values[1] = values[0]
        expected = f"identifier: {rows - 1:,} of {rows:,} values differ, of 9 digits"
        assert left_out(values) == expected
        assert left_out(pa.array(values.astype(np.float64))) == expected

    def test_text_of_them(self) -> None:
        values = [f"{value:09}" for value in numbers(60, 0).tolist()]
        assert left_out([*values, values[0]]) == "identifier: 60 of 61 values differ"
        assert left_out([*values[:-1], "n/a of it", values[0]]) == ""

    def test_a_person_keeps_them(self) -> None:
        assert reason("a", numbers(60), kind=Kind.INTEGER) == ""

    @pytest.mark.parametrize(
        "values",
        [
            numbers(49),
            np.append(numbers(60), numbers(60)[:8]),
            numbers(60, 10**5, 10**6),
            numbers(60, 10**6, 3 * 10**7),
            numbers(60, -FIRST, 10 * FIRST),
            numbers(60, 10**6, 10**7) * 100,
            np.round(np.random.default_rng(0).lognormal(14, 1.5, 500)).astype(np.int64),
            numbers(500, 1_500_000_000, 1_700_000_000),
            numbers(500, 1_500_000_000_000, 1_700_000_000_000),
            20_200_000 + 100 * (1 + np.arange(60) % 12) + 1 + np.arange(60) % 28,
        ],
        ids=[
            "few",
            "repeat",
            "short",
            "lengths",
            "negative",
            "round",
            "amounts",
            "seconds",
            "milliseconds",
            "dates",
        ],
    )
    def test_other_numbers_are_kept(self, values: Any) -> None:
        assert left_out(values) == ""


class TestSixtyFourBits:
    """Keys that programs make up, which reals hold only in part where they are beyond 2^63."""

    @pytest.mark.parametrize(
        "values",
        [
            np.random.default_rng(1).integers(-(2**63), 2**63, 400),
            np.random.default_rng(1).integers(2**63, 2**64, 400, dtype=np.uint64),
            np.random.default_rng(1).integers(0, 2**64, 400, dtype=np.uint64),
            np.random.default_rng(1).integers(0, 2**63, 400).astype(np.float64),
        ],
        ids=["signed", "beyond 2^63", "unsigned", "reals, as where some are missing"],
    )
    def test_hashes_are_left_out_whatever_they_are_called(self, values: Any) -> None:
        for name in ("x", "user_id"):
            assert reason(name, pa.array(values)).startswith("identifier: ")
        kind = Kind.CONTINUOUS if values.dtype.kind in "uf" else Kind.INTEGER
        assert reason("x", pa.array(values), kind=kind) == ""

    def test_a_few_hashes_are_categories_of_a_kind(self) -> None:
        values = np.random.default_rng(1).integers(2**63, 2**64, 20, dtype=np.uint64)
        assert reason("x", pa.array(np.tile(values, 20))) == ""

    @pytest.mark.parametrize("low", [1e3, 1e15])
    def test_large_amounts_are_not(self, low: float) -> None:
        drawn = np.random.default_rng(1).uniform(np.log(low), np.log(1.8e19), 400)
        assert reason("x", np.floor(np.exp(drawn))) == ""

    def test_neither_is_what_is_called_an_amount(self) -> None:
        values = np.random.default_rng(1).integers(2**63, 2**64, 400, dtype=np.uint64)
        assert reason("total_amount", pa.array(values)) == ""

    def test_numbers_that_differ_beyond_the_digits_of_reals_are_no_plain_constant(self) -> None:
        values = pa.array([2**63 + i % 3 for i in range(100)], pa.uint64())
        assert "as far as the digits of real numbers go" in reason("x", values)
