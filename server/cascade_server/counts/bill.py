"""The cost of answers, for the operations page: the same bill as that of `cascade cost`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cascade_cost import CostError, Line, Prices, Usage, statement
from cascade_cost.prices import parse_prices
from cascade_tables.errors import FileRefused
from cascade_tables.yaml_files import read_text

from cascade_server.counts.shared.books import Books
from cascade_server.counts.shared.last_good import LastGood
from cascade_server.counts.usage import usage_of
from cascade_server.errors import ConfigError

# Most tables and tenants on the page: those that have cost the most.
MOST_LINES = 100


def last_good_prices(path: Path) -> LastGood[Prices]:
    """Return the prices of a file; errors name the line and what is allowed."""

    def read() -> str:
        try:
            return read_text(path)
        except FileRefused as exc:
            raise ConfigError(f"prices: {exc}") from exc

    def parse(text: str) -> Prices:
        try:
            return parse_prices(text, str(path))
        except CostError as exc:
            raise ConfigError(f"prices: {exc}") from exc

    return LastGood(read, parse)


class BillSection:
    """A section of the operations page: one line per tier, table and tenant, and idle cost.

    Args:
        books: the usage.
        prices: the prices of the usage.
    """

    def __init__(self, books: Books, prices: Prices) -> None:
        self._books, self._prices = books, prices

    def __call__(self) -> Mapping[str, Any]:
        """Return the bill so far for the operations page."""
        books = self._books
        message = usage_of(books).as_message(books.clock.wall(), books.tables)
        bill, currency = statement(Usage.from_message(message), self._prices), self._prices.currency
        dearest = sorted(bill.lines, key=lambda line: line.cost, reverse=True)[:MOST_LINES]
        rest = [bill.idle] if bill.unused is None else [bill.idle, bill.unused]
        tenants = any(line.tenant for line in bill.lines)
        columns = [
            {"key": "tier", "label": "Tier"},
            {"key": "table", "label": "Table"},
            *([{"key": "tenant", "label": "Tenant"}] if tenants else []),
            {"key": "rows", "label": "Rows"},
            {"key": "core_seconds", "label": "Processors", "unit": "s"},
            {"key": "cost", "label": "Cost", "unit": currency},
            {"key": "per_10k", "label": "per 10,000 rows", "unit": currency},
        ]
        ratio = bill.savings.ratio
        saved = (
            "What pool and student save is not known before the teacher has drawn."
            if ratio is None
            else f"{100 * ratio:.1f} % saved beside having the teacher draw everything."
        )
        return {
            "title": "Cost",
            "note": f"{saved} Prices: {self._prices.source}.",
            "columns": columns,
            "rows": [_row(line) for line in [*dearest, *rest]],
            "empty": "Nothing was asked yet.",
            "total": float(bill.total.cost),
            "currency": currency,
            "saved_ratio": ratio,
            "by_tier": {tier: _row(line) for tier, line in bill.by_tier().items()},
        }


def _row(line: Line) -> Mapping[str, Any]:
    return {
        "tier": line.tier,
        "table": line.table,
        "tenant": line.tenant,
        "rows": line.rows,
        "core_seconds": round(float(line.core_seconds), 3),
        "cost": _short(line.cost),
        "per_10k": None if line.per_10k is None else _short(line.per_10k),
    }


def _short(amount: Any) -> float:
    """Round to four significant digits."""
    return float(f"{float(amount):.4g}")
