"""Printing of service levels on a terminal: one line per objective, then the latencies."""

from __future__ import annotations

from collections.abc import Collection

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cascade_client.values.service_level import (
    Alert,
    BurnRate,
    LatencyQuantiles,
    ObjectiveStatus,
    ServiceLevel,
    duration,
    percent,
)

ALERT_STYLES = {Alert.OK: "green", Alert.TICKET: "yellow", Alert.PAGE: "bold red"}
# An objective with less than this share of its budget is highlighted.
LOW_BUDGET = 0.25
# Layouts, of which the first that fits is used: whether to show events, and windows of burn rates
# in seconds.
LAYOUTS = (
    (True, (300, 1800, 3600, 21_600, 86_400, 259_200)),
    (True, (300, 3600, 21_600, 259_200)),
    (False, (300, 3600, 259_200)),
    (False, (3600,)),
)
NOTHING = "–"


def rendered(
    level: ServiceLevel, target: str, console: Console, trouble: str = ""
) -> RenderableType:
    """Return the printable report.

    Args:
        level: the server's answer.
        target: the server.
        console: the terminal; shows as many columns as fit.
        trouble: why this is not the latest level.
    """
    tables = (objectives(level.objectives, *layout) for layout in LAYOUTS)
    boundless = console.options.update(max_width=10_000)
    fits = (
        table
        for table in tables
        if console.measure(table, options=boundless).maximum <= console.width
    )
    parts: list[RenderableType] = [
        headline(level, target),
        Text(""),
        next(fits, objectives(level.objectives, *LAYOUTS[-1])),
    ]
    if level.latencies:
        parts += [Text(""), latencies(level.latencies)]
    if level.caller_faults:
        parts += [Text(""), Text("callers' own, in no budget, since the server's start:", "dim")]
        parts += [Text(f"  {each}", "dim") for each in level.caller_faults]
    if trouble:
        parts += [Text(""), Text(trouble, style="bold red")]
    return Group(*parts)


def headline(level: ServiceLevel, target: str) -> Text:
    """Return whose objectives they are, and which need attention."""
    alerts = [each.alert for each in level.objectives]
    pages, tickets = alerts.count(Alert.PAGE), alerts.count(Alert.TICKET)
    words = [f"{n} {name}{'s' * (n != 1)}" for n, name in ((pages, "page"), (tickets, "ticket"))]
    wanted = [word for word, n in zip(words, (pages, tickets), strict=True) if n]
    since = level.since.isoformat(sep=" ", timespec="minutes")
    return Text.assemble(
        f"{level.service} at {target}: ",
        (", ".join(wanted) or "no alerts", ALERT_STYLES[level.alert]),
        (f"\nbudgets of {duration(level.window)}, counted since {since} UTC", "dim"),
    )


def objectives(
    statuses: Collection[ObjectiveStatus], with_events: bool, windows: Collection[int]
) -> Table:
    """Return a table with one row per objective; a table's name is on its first row."""
    table = _table()
    for name in ("table", "class", "objective"):
        table.add_column(name, no_wrap=True)
    for name in ("kept", *(["events"] if with_events else []), "budget"):
        table.add_column(name, justify="right", no_wrap=True)
    for number, window in enumerate(windows):
        name = f"burn {duration(window)}" if number == 0 else duration(window)
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("alert", no_wrap=True)
    before: tuple[str, ...] = ("", "")
    for each in statuses:
        key = (each.table, str(each.service))
        kept = each.kept
        table.add_row(
            each.table if each.table != before[0] else "",
            each.service if key != before else "",
            each.promise,
            NOTHING if kept is None else percent(kept, 3),
            *([_count(each.total)] if with_events else []),
            _budget(each.budget_remaining),
            *(_burn(burn) for burn in each.burn_rates if burn.window in windows),
            Text(each.alert, style=ALERT_STYLES.get(each.alert, "")),
            style="dim" if kept is None else "",
        )
        before = key
    return table


def latencies(quantiles: Collection[LatencyQuantiles]) -> Table:
    """Return the latencies over the last hour: one row per table, class and tier, in
    milliseconds.
    """
    table = _table()
    for name in ("last hour", "class", "tier"):
        table.add_column(name, no_wrap=True)
    table.add_column("answers", justify="right", no_wrap=True)
    wanted = sorted({quantile for each in quantiles for quantile in each.quantiles})
    for quantile in wanted:
        table.add_column(f"p{100 * quantile:g} ms", justify="right", no_wrap=True)
    before: tuple[str, ...] = ("", "")
    for each in quantiles:
        key = (each.table, str(each.service))
        cells = [
            f"{1e3 * each.quantiles[q]:.3g}" if q in each.quantiles else NOTHING for q in wanted
        ]
        table.add_row(
            each.table if each.table != before[0] else "",
            each.service if key != before else "",
            each.tier,
            _count(each.count),
            *cells,
        )
        before = key
    return table


def _table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), header_style="dim")


def _budget(share: float) -> Text:
    style = "bold red" if share < 0 else "yellow" if share < LOW_BUDGET else ""
    return Text(percent(share, 1 if abs(share) < 10 else 0), style=style)


def _burn(burn: BurnRate) -> Text:
    if burn.total == 0:
        return Text(NOTHING, style="dim")
    return Text(f"{burn.rate:.3g}", style="yellow" if burn.rate > 1 else "")


def _count(number: int) -> str:
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (1e3 if suffix == 'k' else size):.4g}{suffix}"
    return str(number)
