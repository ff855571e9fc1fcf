"""`prices.yaml`: what is not known is refused, by line, with what was meant."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from cascade_cost import DEFAULT_PRICES, PricesRefused, load_prices
from cascade_cost.prices import Bill, Reserved, parse_prices


def test_all_of_it() -> None:
    found = parse_prices(
        "currency: EUR\ncore_hour: 0.035\ngib_hour: 0.0045\ngpu_hour: 0.62\n"
        "reserved: {cores: 4, memory_gib: 8}\n"
        "bill: {provider: Example Cloud, account: '1234', region: eu-west-1}\n"
    )
    assert (found.currency, found.core_hour) == ("EUR", Decimal("0.035"))
    assert found.reserved == Reserved(Decimal(4), Decimal(8))
    assert found.bill == Bill("Example Cloud", "1234", "eu-west-1")


def test_the_example_prices_are_prices() -> None:
    assert DEFAULT_PRICES.currency == "USD"
    assert DEFAULT_PRICES.core_hour > DEFAULT_PRICES.gib_hour > 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("currency: EUR\ncore_hours: 1\n", r"line 2: the file has 'core_hours'.*'core_hour'\?"),
        ("core_hour: 1\n", "there is no currency"),
        ("currency: EUR\n", "there is no core_hour"),
        ("currency: euro\ncore_hour: 1\n", "three capital letters"),
        ("currency: EUR\ncore_hour: -1\n", "line 2: core_hour is -1; allowed: a number from 0"),
        ("currency: EUR\ncore_hour: .nan\n", "a number from 0 on"),
        ("currency: EUR\ncore_hour: yes\n", "a number from 0 on"),
        ("currency: EUR\ncore_hour: true\n", "a number from 0 on"),
        ("currency: EUR\ncore_hour: 1e400\n", "a number from 0 on"),
        ("currency: EUR\ncore_hour: 1\nreserved: {core: 2}\n", "'cores'"),
        ("currency: EUR\ncore_hour: 1\nreserved: 2\n", "reserved is 2"),
        ("currency: EUR\ncore_hour: 1\nbill: {provider: ''}\n", "a text on one line"),
        ("- 1\n", "the file is"),
        ("", "there is no currency"),
        ("a: [", "line"),
    ],
)
def test_what_is_wrong_is_named(text: str, why: str) -> None:
    with pytest.raises(PricesRefused, match=why):
        parse_prices(text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PricesRefused, match=r"none\.yaml cannot be read"):
        load_prices(tmp_path / "none.yaml")
