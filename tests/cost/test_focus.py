"""A bill as FOCUS 1.2: held to the specification, here and by its published validator."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from cascade_cost import DEFAULT_PRICES, Statement, statement
from cascade_cost.focus import COLUMNS, as_csv, plain
from cascade_cost.prices import Bill, Reserved

from benchmarks.peers.environments import NotInstalled, environment
from tests.cost import focus_1_2
from tests.cost.made_up import busy

# pandera 0.17, which it pins, imports what later versions of multimethod do not have.
VALIDATOR = ("focus-validator==1.0.0", "multimethod<2")


def bill() -> Statement:
    reserved = Reserved(cores=Decimal(2), memory_gib=Decimal(4))
    named = Bill("Example Cloud", "acct-1234", "eu-west-1")
    return statement(busy(), replace(DEFAULT_PRICES, reserved=reserved, bill=named))


def rows() -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(bill()))))


class TestSpecification:
    """What FOCUS 1.2 says of every dataset."""

    def test_all_mandatory_columns_are_there_and_no_unknown_ones(self) -> None:
        mandatory = {
            name
            for name, (level, _, _) in focus_1_2.COLUMNS.items()
            if level == focus_1_2.MANDATORY
        }
        assert mandatory <= set(COLUMNS) <= set(focus_1_2.COLUMNS)

    @pytest.mark.parametrize("column", [name for name in COLUMNS if name in focus_1_2.COLUMNS])
    def test_values_are_of_the_type_and_null_only_where_they_may_be(self, column: str) -> None:
        _, nullable, kind = focus_1_2.COLUMNS[column]
        for row in rows():
            value = row[column]
            if not value:
                # Of a charge without a sub account there is no type either.
                assert nullable, (column, row)
                continue
            if kind == focus_1_2.DECIMAL:
                assert plain(Decimal(value)) == value
            elif kind == focus_1_2.DATE:
                assert value.endswith("Z")
                datetime.fromisoformat(value)
            elif kind == focus_1_2.JSON:
                assert isinstance(json.loads(value), dict)
            if column in focus_1_2.VALUES:
                assert value in focus_1_2.VALUES[column]

    def test_a_cost_is_its_quantity_times_its_price(self) -> None:
        for row in rows():
            quantity = Decimal(row["PricingQuantity"])
            for cost, price in (
                ("ListCost", "ListUnitPrice"),
                ("ContractedCost", "ContractedUnitPrice"),
            ):
                assert Decimal(row[cost]) == quantity * Decimal(row[price])
            assert row["BilledCost"] == row["EffectiveCost"] == row["ListCost"]

    def test_a_charge_lies_in_its_billing_period(self) -> None:
        for row in rows():
            moments = [
                datetime.fromisoformat(row[name])
                for name in (
                    "BillingPeriodStart",
                    "ChargePeriodStart",
                    "ChargePeriodEnd",
                    "BillingPeriodEnd",
                )
            ]
            assert moments == sorted(moments)
            assert moments[0].day == moments[3].day == 1

    def test_a_year_ends(self) -> None:
        december = replace(bill(), since=1_798_700_000.0, until=1_798_750_000.0)
        (period,) = {
            row["BillingPeriodEnd"] for row in csv.DictReader(io.StringIO(as_csv(december)))
        }
        assert period == "2027-01-01T00:00:00Z"


class TestBill:
    """The file is the bill, and all of it."""

    def test_its_costs_are_the_bills(self) -> None:
        whole = sum(Decimal(row["BilledCost"]) for row in rows())
        # Each quantity is rounded to twelve places.
        assert whole == pytest.approx(bill().total.cost, abs=Decimal("1e-10"))

    def test_idle_and_unused_are_rows_of_their_own(self) -> None:
        tiers = {json.loads(row["Tags"])["tier"] for row in rows()}
        assert {"idle", "unused", "student", "pool"} <= tiers

    def test_tenants_are_sub_accounts(self) -> None:
        assert {row["SubAccountId"] for row in rows()} == {"", "a", "b"}

    def test_what_a_table_is_called_does_not_break_the_file(self) -> None:
        odd = 'odd, "name"\nof a table'
        compute = tuple(replace(each, table=odd) for each in busy().compute)
        found = csv.DictReader(
            io.StringIO(as_csv(statement(replace(busy(), compute=compute), DEFAULT_PRICES)))
        )
        assert {json.loads(row["Tags"]).get("table") for row in found} == {odd, None}


@pytest.mark.parametrize(
    ("number", "text"),
    [("0", "0"), ("1E+3", "1000"), ("0.10", "0.1"), ("1e-12", "0.000000000001"), ("5", "5")],
)
def test_numbers_have_no_exponent(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text


@pytest.fixture
def validator() -> Path:
    try:
        return environment(*VALIDATOR)
    except NotInstalled as exc:
        pytest.skip(str(exc))


class TestValidator:
    """The specification's own validator, in an environment of its own."""

    def test_it_finds_nothing_wrong_and_would(self, validator: Path, tmp_path: Path) -> None:
        whole, spoilt = tmp_path / "whole.csv", tmp_path / "spoilt.csv"
        whole.write_text(as_csv(bill()))
        spoilt.write_text(as_csv(bill()).replace("Usage,,", "Use,,"))
        rules = focus_1_2.write_rules(tmp_path / "rules")

        def said(path: Path) -> str:
            return validated(validator, ["--data-file", str(path), "--rule-set-path", str(rules)])

        assert "Validation succeeded" in said(whole)
        assert "ChargeCategory" in said(spoilt)


def validated(validator: Path, options: Sequence[str]) -> str:
    (packages,) = (validator / "lib").glob("python*/site-packages")
    program = [str(validator / "bin" / "python"), "-m", "focus_validator.main"]
    # It looks for its list of currencies where it is run.
    done = subprocess.run(
        [*program, *options, "--validate-version", "1.2"],
        cwd=packages,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr
