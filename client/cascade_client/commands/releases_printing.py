"""Printing of a server's releases on a terminal, one per line."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cascade_client.values.releases import Release, ReleaseReport, ReleaseState
from cascade_client.values.service_level import percent

STYLES = {
    ReleaseState.LOADED: "green",
    ReleaseState.LOADING: "yellow",
    ReleaseState.REFUSED: "bold red",
    ReleaseState.MISSING: "yellow",
}
NOTHING = "–"


def rendered(report: ReleaseReport, target: str) -> RenderableType:
    """Return the printable report.

    Args:
        report: the server's answer.
        target: the server.
    """
    since = report.since.isoformat(sep=" ", timespec="seconds")
    policies = ", ".join(f"{table} {policy}" for table, policy in report.policies.items())
    head = Text.assemble(
        f"releases at {target}",
        (f"\ngeneration {report.generation} since {since} UTC; policy: {policies}", "dim"),
    )
    parts: list[RenderableType] = [head, Text(""), lines(report)]
    for each in report.releases:
        if each.reason:
            style = "red" if each.state is ReleaseState.REFUSED else "dim"
            parts.append(Text(f"{each.table} {each.version}: {each.reason}", style=style))
    return Group(*parts)


def lines(report: ReleaseReport) -> Table:
    """Return a table with one row per release; a table's name is on its first row."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("table", no_wrap=True)
    table.add_column("version", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    for name in ("", "digest", "created"):
        table.add_column(name, no_wrap=True)
    before = ""
    for each in report.releases:
        table.add_row(
            each.table if each.table != before else "",
            str(each.version),
            Text(each.state, style=STYLES.get(each.state, "")),
            percent(each.share, 4) if each.share else NOTHING,
            role(each),
            each.digest or NOTHING,
            each.created[:10] or NOTHING,
            style="" if each.share else "dim",
        )
        before = each.table
    return table


def role(release: Release) -> str:
    """Return the role of a version."""
    if release.canary:
        return "canary"
    if release.share:
        return "answers"
    return "previous" if release.previous else ""
