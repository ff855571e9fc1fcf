"""Printing of a bill on a terminal: tiers, then tables and tenants, then savings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

from cascade_cost import Line, Statement
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

NOTHING = "–"
NOBODY = "(not told apart)"


def rendered(bill: Statement, target: str) -> RenderableType:
    """Return the printable bill: totals, then the parts by tier, table and tenant."""
    tenants = bill.by(lambda line: line.tenant)
    parts: list[RenderableType] = [headline(bill, target), Text("")]
    rest = {"idle": bill.idle} | ({} if bill.unused is None else {"unused": bill.unused})
    parts.append(lines("tier", bill.by_tier(), bill, rest))
    if bill.lines:
        parts += [Text(""), lines("table", bill.by(lambda line: line.table), bill)]
    if set(tenants) - {""}:
        named = {name or NOBODY: line for name, line in tenants.items()}
        parts += [Text(""), lines("tenant", named, bill)]
    parts += [Text(""), Text(saved(bill)), Text(f"prices: {priced(bill)}", "dim")]
    return Group(*parts)


def headline(bill: Statement, target: str) -> Text:
    """Return the start of counting, and the total cost."""
    since = datetime.fromtimestamp(bill.since, UTC).strftime("%Y-%m-%d %H:%M")
    hours = bill.serving_seconds / 3600
    there = f"{hours:.1f} h" if hours >= 1 else f"{bill.serving_seconds / 60:.0f} min"
    return Text.assemble(
        (target, "bold"),
        f" has cost {money(bill.total.cost)} {bill.prices.currency} since {since} UTC, in which it "
        f"served for {there}",
    )


def lines(
    name: str, some: Mapping[str, Line], bill: Statement, rest: Mapping[str, Line] | None = None
) -> Table:
    """Return a table with one row per line of the bill; `rest` is below a rule."""
    currency = bill.prices.currency
    on_gpu = any(line.gpu_seconds for line in bill.lines)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(name)
    for each in ("rows", "core s", *(["GPU s"] if on_gpu else []), "GiB h", "cost", "per 10k rows"):
        table.add_column(each, justify="right")
    for group, style in ((some, ""), (rest or {}, "dim")):
        for key, line in group.items():
            per = NOTHING if line.per_10k is None else f"{money(line.per_10k)} {currency}"
            table.add_row(
                Text(key),
                f"{line.rows:,}" if line.rows else NOTHING,
                f"{line.core_seconds:,.1f}",
                *([f"{line.gpu_seconds:,.1f}"] if on_gpu else []),
                f"{line.gib_seconds / 3600:.4f}",
                f"{money(line.cost)} {currency}",
                per,
                style=style,
            )
    return table


def saved(bill: Statement) -> str:
    """Describe what pool, cache and student have saved, or why that is unknown."""
    savings, currency = bill.savings, bill.prices.currency
    without = ""
    if savings.without:
        tables = ", ".join(savings.without)
        without = f" Not known for {tables}: the teacher has drawn nothing there to compare with."
    if savings.ratio is None:
        return f"saved: not known yet.{without}" if without else "saved: nothing was answered yet."
    if savings.at_least:
        tables = ", ".join(savings.at_least)
        without += (
            f" At least: the teacher of {tables} has drawn in large batches only, which take less."
        )
    words = "saved" if savings.saved >= 0 else "more"
    return (
        f"{words}: {money(abs(savings.saved))} {currency} ({100 * abs(savings.ratio):.1f} %) "
        f"beside having the teacher draw what pool, cache and student gave, "
        f"{money(savings.by_teacher)} {currency}.{without}"
    )


def priced(bill: Statement) -> str:
    """Describe the prices and their source."""
    prices, currency = bill.prices, bill.prices.currency
    said = f"{prices.core_hour} {currency} a core hour, {prices.gib_hour} a GiB hour"
    if any(line.gpu_seconds for line in bill.lines):
        said += f", {prices.gpu_hour} a GPU hour"
    return f"{said} ({prices.source})"


def money(amount: Decimal) -> str:
    """Format an amount with three significant digits, and at least two decimals."""
    if amount == 0:
        return "0"
    places = max(2, 2 - amount.copy_abs().adjusted())
    return f"{amount:,.{min(places, 12)}f}"
