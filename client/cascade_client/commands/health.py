"""`cascade health`: whether a server can answer, on the terminal and as an exit status."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import click

from cascade_client.calls.health import SERVING
from cascade_client.commands.connecting import connect, target_option
from cascade_client.errors import CascadeError

# Prefix of a table's name in the health service.
OF_TABLE = "cascade.v1.Synthesis/"
NOT_SERVING_STATUS, NO_ANSWER_STATUS = 1, 2


@click.command(short_help="Say whether a server can answer, also by the exit status.")
@target_option
@click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="TABLE",
    help="Ask for this table, rather than the server as a whole; may be repeated.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Patience for an answer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
def health(
    target: str, tables: tuple[str, ...], timeout: float, as_json: bool, quiet: bool
) -> None:
    """Say whether a running server can answer calls, as a whole or for tables.

    It says NOT_SERVING while it loads or stops, and where nothing could be answered for some
    seconds. A server that refuses calls because there are too many is SERVING.

    \b
    Exit status:
      0  SERVING: the server, or every table that was named
      1  NOT_SERVING
      2  no answer, or no such table

    \b
    Examples:
      cascade health
      cascade health --table credit --quiet && deploy
      cascade health --json | jq .services
    """
    try:
        with connect(target, timeout=timeout) as client:
            found = client.health()
    except CascadeError as exc:
        if as_json and not quiet:
            click.echo(json.dumps({"target": target, "serving": False, "error": str(exc)}))
        elif not quiet:
            # A connection error names the target itself; a timeout does not.
            said = str(exc) if target in str(exc) else f"{target} in {timeout:g} s: {exc}"
            click.echo(f"no answer from {said}", err=True)
        raise SystemExit(NO_ANSWER_STATUS) from exc
    unknown = [table for table in tables if OF_TABLE + table not in found]
    if unknown:
        known = ", ".join(sorted(tables_in(found))) or "none"
        click.echo(f"unknown table {unknown[0]!r}; the tables are: {known}", err=True)
        raise SystemExit(NO_ANSWER_STATUS)
    serves = is_serving(found, tables)
    if as_json and not quiet:
        click.echo(json.dumps({"target": target, "serving": serves, "services": found}))
    elif not quiet:
        for line in lines(found):
            click.echo(line)
    raise SystemExit(0 if serves else NOT_SERVING_STATUS)


def tables_in(found: Mapping[str, str]) -> dict[str, str]:
    """Return the statuses of tables, by table."""
    return {
        name.removeprefix(OF_TABLE): status
        for name, status in found.items()
        if name.startswith(OF_TABLE)
    }


def is_serving(found: Mapping[str, str], tables: Sequence[str]) -> bool:
    """Return whether the server, or each of the named tables, is serving."""
    names = [OF_TABLE + table for table in tables] or [""]
    return all(found.get(name) == SERVING for name in names)


def lines(found: Mapping[str, str]) -> list[str]:
    """Return one line each for the server, its tables, and its services."""
    tables = tables_in(found)
    others = {
        name: status
        for name, status in found.items()
        if name and name.removeprefix(OF_TABLE) not in tables
    }
    labelled = [("the server", found.get("", "UNKNOWN"))]
    labelled += [(f"table {name}", status) for name, status in sorted(tables.items())]
    labelled += sorted(others.items())
    width = max(len(label) for label, _ in labelled)
    return [f"{label:<{width}}  {status}" for label, status in labelled]
