"""The bill on the operations page: JSON-able, whatever was used, and the prices that were given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cascade_cost import DEFAULT_PRICES
from cascade_server.counts.bill import MOST_LINES, BillSection, last_good_prices
from cascade_server.counts.shared.books import Books
from cascade_server.counts.shared.compute import UsageKey, UsageTier, Used
from cascade_server.errors import ConfigError
from cascade_server.objectives.objective import SloConfig


def test_a_line_a_tier_and_what_is_idle() -> None:
    books = Books(SloConfig(), ["credit"])
    key = UsageKey("credit", UsageTier.STUDENT, "a")
    books.places[0].compute.add(key, Used(36.0, 0.0, 100, 100, 300))
    found = json.loads(json.dumps(BillSection(books, DEFAULT_PRICES)(), allow_nan=False))
    assert [row["tier"] for row in found["rows"]] == ["student", "idle"]
    assert {"key": "tenant", "label": "Tenant"} in found["columns"]
    assert found["by_tier"]["student"]["per_10k"] == pytest.approx(0.0316, rel=0.01)
    assert found["saved_ratio"] is None


def test_of_many_tables_the_dearest_are_shown() -> None:
    tables = [f"table {number}" for number in range(300)]
    books = Books(SloConfig(), tables)
    for number, table in enumerate(tables):
        books.places[0].compute.add(UsageKey(table, UsageTier.CACHE), Used(1.0 + number))
    rows = BillSection(books, DEFAULT_PRICES)()["rows"]
    assert len(rows) == MOST_LINES + 1
    assert rows[0]["table"] == "table 299"


def test_prices_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("currency: EUR\ncores_hour: 1\n")
    with pytest.raises(ConfigError, match=r"prices: .*line 2.*Did you mean 'core_hour'"):
        last_good_prices(path).now()
