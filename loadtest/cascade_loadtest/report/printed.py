"""A run in a terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cascade_loadtest.outcomes import Calls, together
from cascade_loadtest.run.result import Result

SIGNS = {True: "[green]kept[/green]", False: "[bold red]MISSED[/bold red]", None: "[dim]–[/dim]"}


def printed(found: Result, console: Console) -> None:
    """Print what a run has found: the calls by kind, then each promise and whether it was kept."""
    console.print(_calls(found))
    for words in _sentences(found):
        console.print(escape(words))
    console.print(_promises(found))


# Both tables; without frames they have room in 80 characters.
LOOK: dict[str, Any] = {"box": SIMPLE_HEAD, "title_justify": "left", "pad_edge": False}
# Of these columns a terminal of 80 characters has room.
COLUMNS = (0.5, 0.99, 0.999, 0.9999)


def _calls(found: Result) -> Table:
    table = Table(title="What callers were given, milliseconds", **LOOK)
    table.add_column("calls", no_wrap=True)
    for name in ("asked", "answered", *(f"p{100 * q:.10g}" for q in COLUMNS)):
        table.add_column(name, justify="right", no_wrap=True)
    real_time = found.real_time
    table.add_row(*_row("real time, from due", real_time))
    sent = Calls(real_time.sent, real_time.sent, real_time.failures)
    table.add_row(*_row("real time, from sent", sent), end_section=True)
    kinds = list(found.tally.calls)
    for name, calls in found.calls.items():
        if calls.count:
            table.add_row(*_row(name, calls), end_section=name == kinds[-1])
    return table


def _row(name: str, calls: Calls) -> list[str]:
    shares = [milliseconds(calls.quantile(q)) for q in COLUMNS]
    return [escape(name), f"{calls.count:,}", f"{calls.answered:,}", *shares]


def milliseconds(value: float) -> str:
    """Of all calls; a dash: so many were not answered."""
    return "–" if value == float("inf") else f"{value:.2f}" if value < 1000 else f"{value:,.0f}"


def _sentences(found: Result) -> list[str]:
    lag, dropped = found.tally.lag, found.tally.dropped.total()
    words = [
        f"{found.due:,} calls were due in {found.seconds:g} s, {found.per_s:,.0f} a second at the "
        f"highest; {dropped:,} were never sent; the generator was "
        f"{1e3 * lag.quantile(0.99):.2f} ms late at its p99."
    ]
    if found.capacity is not None:
        words.append(
            f"One worker answers {found.capacity.per_s:,.0f} calls/s to a closed loop, "
            f"{'beside a job' if found.options.capacity == 'beside' else 'alone'}."
        )
    if found.job is not None:
        failed = f"; it failed: {found.job.failed}" if found.job.failed else ""
        words.append(
            f"The offline job made {found.job.rows_per_s:,.0f} rows/s beside them{failed}."
        )
    every = together(found.calls)
    for what, why in (
        ("Answered by", together(found.tally.calls).tiers),
        ("Not answered", every.failures),
        ("Had to be refused, and was", every.refused),
    ):
        if why:
            reasons = ", ".join(f"{code} {count:,}" for code, count in why.most_common())
            words.append(f"{what}: {reasons}.")
    return words


def _promises(found: Result) -> Table:
    table = Table("whose", "objective", "promised", "measured", "", **LOOK)
    table.title = "What was promised"
    for each in found.verdicts:
        table.add_row(each.calls, each.objective, each.promised, each.measured, SIGNS[each.kept])
    return table
