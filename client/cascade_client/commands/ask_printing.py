"""Printing of rows on a terminal: one line per column and one column per row, for wide tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cascade_client.values.answers import Synthesis
from cascade_client.values.provenance import Routing

# More rows than this need --json.
MOST_ROWS = 20
SPACING = 2
# Most characters of a value that are printed.
LONGEST = 200
GIVEN_STYLE, SYNTHETIC_STYLE = "cyan", "bold"


def print_rows(
    console: Console, answer: Synthesis[list[dict[str, Any]]], given: Mapping[str, Any]
) -> None:
    """Print rows, as many side by side as fit the terminal, and their provenance.

    Given columns are marked "given" and coloured differently from drawn ones.
    """
    rows = answer.data[:MOST_ROWS]
    names = list(rows[0])
    cells = [[shown(row[name]) for name in names] for row in rows]
    stub = max(map(len, [*names, "column"])) + len("given") + 2 * SPACING
    for start, stop in fitting(cells, console.width - stub):
        table = Table(box=None, padding=(0, SPACING, 0, 0), header_style="dim")
        table.add_column("column", no_wrap=True)
        table.add_column("", no_wrap=True)
        for number in range(start, stop):
            table.add_column(f"row {number + 1}", justify="right", overflow="fold")
        for line, name in enumerate(names):
            style = GIVEN_STYLE if name in given else SYNTHETIC_STYLE
            values = [Text(cells[number][line], style) for number in range(start, stop)]
            mark = Text("given" if name in given else "", style="dim")
            table.add_row(Text(name, style=style), mark, *values)
        console.print(table)
        console.print()
    if len(answer.data) > MOST_ROWS:
        console.print(f"… and {len(answer.data) - MOST_ROWS} more rows; --json prints them all.")
    if answer.provenance.routing is not None:
        for why in explained(answer.provenance.routing):
            console.print(Text(why, style="dim"), soft_wrap=True)
    for notice in answer.provenance.notices:
        console.print(Text(f"note: {notice}", style="yellow"), soft_wrap=True)
    console.print(Text(f"synthetic · {answer.provenance}", style="dim"), soft_wrap=True)


def explained(routing: Routing) -> list[str]:
    """Return lines that explain why a tier answered."""
    lines = [f"why: {routing.reason}"]
    for each in routing.considered:
        passes = f"{each.steps} step{'s' * (each.steps != 1)}"
        pool = " from the pool" if each.from_pool else ""
        lines.append(f"  {each.tier}, {passes}{pool}: {each.predicted * 1000:.2f} ms predicted")
    return lines


def fitting(cells: list[list[str]], room: int) -> list[tuple[int, int]]:
    """Return ranges of rows that fit side by side in `room` characters; at least one row each."""
    ranges, start, used = [], 0, 0
    for number, row in enumerate(cells):
        width = max(map(len, [*row, f"row {number + 1}"])) + SPACING
        if number > start and used + width > room:
            ranges.append((start, number))
            start, used = number, 0
        used += width
    return [*ranges, (start, len(cells))]


def shown(value: Any) -> str:
    """Format a value: NULL, numbers to six digits, other values unchanged, long ones cut."""
    if value is None:
        return "NULL"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}… ({len(text):,} characters; --json has all)"
