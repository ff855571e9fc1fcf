"""`cascade ask`: rows from a running server, on the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from difflib import get_close_matches
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from cascade_client.commands.ask_printing import print_rows
from cascade_client.commands.connecting import AskFailed, connect, target_option
from cascade_client.errors import CascadeError
from cascade_client.messages.wire import Fidelity
from cascade_client.values.answers import Synthesis
from cascade_client.values.descriptions import ColumnDescription, TableDescription

TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


@click.command(short_help="Ask a server for rows, some of whose columns are known.")
@click.argument("table")
@click.option(
    "--given",
    "-g",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="A column that is known; repeat it. `null` is NULL, observed.",
)
@click.option("--draws", default=1, show_default=True, help="Answers to draw.")
@click.option("--generate", type=int, metavar="N", help="Stream N rows from the teacher instead.")
@click.option(
    "--columns", multiple=True, metavar="A,B,...", help="Return only these columns; repeat it."
)
@click.option("--seed", type=int, help="The same seed gives the same rows.")
@click.option("--full", "fidelity", flag_value="full", help="Ask the teacher: slow, faithful.")
@click.option("--fast", "fidelity", flag_value="fast", help="Ask the student.")
@click.option("--version", type=int, help="The release; the latest where not given.")
@target_option
@click.option(
    "--timeout", default=10.0, show_default=True, metavar="SECONDS", help="Patience with --draws."
)
@click.option("--explain", is_flag=True, help="Say which tiers were considered, and why.")
@click.option("--strict", is_flag=True, help="Refuse values that were never learnt.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def ask(
    table: str,
    given: tuple[str, ...],
    draws: int,
    generate: int | None,
    columns: tuple[str, ...],
    seed: int | None,
    fidelity: Fidelity | None,
    version: int | None,
    target: str,
    timeout: float,
    explain: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Ask a running server for rows of TABLE.

    Columns that are not given are drawn from their distribution given those that are. The
    server's columns, and what each may hold, are what an unknown name or a bad value is answered
    with. Names and values are taken as they are first, with their blanks, "=" and ","; without
    surrounding blanks only where there is none of that name, or no such category.

    A value that was never learnt is answered, and noted; with --strict and with --generate it is
    refused.

    \b
    Examples:
      cascade ask credit --given limit_bal=20000 --given age=25 --draws 5
      cascade ask credit --given sex=2 --full --seed 7 --columns age,limit_bal
      cascade ask adult --generate 1000 --json
    """
    if generate is not None and (draws != 1 or fidelity == "fast"):
        raise click.UsageError("--generate asks the teacher for rows: leave out --draws and --fast")
    console = Console()
    try:
        with connect(target, timeout=timeout) as client:
            schema = client.describe(table, version=version)
            known = parse_all_given(given, schema)
            names = [name for text in columns for name in parse_columns(text, schema)] or None
            answer: Synthesis[list[dict[str, Any]]]
            if generate is None:
                answer = client.synthesize(
                    table,
                    [known],
                    draws=draws,
                    columns=names,
                    seed=seed,
                    fidelity=fidelity or "auto",
                    explain=explain,
                    strict=strict,
                    version=version,
                )
            else:
                with Progress(console=Console(stderr=True), transient=True) as bar:
                    task = bar.add_task(f"{generate} rows", total=generate)
                    answer = client.generate(
                        table,
                        generate,
                        kind="rows",
                        progress=lambda done, total: bar.update(task, completed=done, total=total),
                        given=known,
                        columns=names,
                        seed=seed,
                        version=version,
                    )
    except CascadeError as exc:
        raise AskFailed(exc) from exc
    if as_json:
        click.echo(json.dumps(as_document(answer), default=datetime.isoformat))
    else:
        print_rows(console, answer, known)


def parse_all_given(given: Sequence[str], schema: TableDescription) -> dict[str, Any]:
    """Typed values by column.

    Raises:
        click.BadParameter: as `parse_given`, or a column is given twice.
    """
    known: dict[str, Any] = {}
    for text in given:
        name, value = parse_given(text, schema)
        if name in known:
            raise click.BadParameter(f"{name} is given twice", param_hint="--given")
        known[name] = value
    return known


def parse_given(text: str, schema: TableDescription) -> tuple[str, Any]:
    """Parse ``COLUMN=VALUE`` to a name and a typed value; the longest matching name wins.

    Raises:
        click.BadParameter: no "=", no such column, or a value that the column cannot hold; names
            what is allowed.
    """
    parts = text.split("=")
    if len(parts) == 1:
        raise click.BadParameter(
            f"{text!r} has no '='; COLUMN=VALUE is wanted", param_hint="--given"
        )
    column, value = None, ""
    for names in range(len(parts) - 1, 0, -1):
        column = named("=".join(parts[:names]), schema)
        if column is not None:
            value = "=".join(parts[names:])
            break
    if column is None:
        raise no_column(parts[0].strip(), schema, "--given")
    try:
        return column.name, parse_value(value, column)
    except ValueError as exc:
        raise click.BadParameter(
            f"{column.name} cannot be {value!r}; allowed: {column.allowed}",
            param_hint="--given",
        ) from exc


def parse_columns(text: str, schema: TableDescription) -> list[str]:
    """Parse the names of ``A,B,...``; the longest matching name wins.

    Raises:
        click.BadParameter: there is no such column; names the existing ones.
    """
    parts, found = text.split(","), []
    while parts:
        for length in range(len(parts), 0, -1):
            column = named(",".join(parts[:length]), schema)
            if column is not None:
                found.append(column.name)
                del parts[:length]
                break
        else:
            raise no_column(parts[0].strip(), schema, "--columns")
    return found


def named(name: str, schema: TableDescription) -> ColumnDescription | None:
    """Return the column with exactly this name, or else with the name stripped of blanks."""
    return schema.column(name) or schema.column(name.strip())


def no_column(name: str, schema: TableDescription, option: str) -> click.BadParameter:
    """Build the error for an unknown column name; it lists the existing ones."""
    names = [column.name for column in schema.columns]
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return click.BadParameter(
        f"{schema.table} has no column {name!r}.{hint} Its columns: {', '.join(names)}",
        param_hint=option,
    )


def parse_value(text: str, column: ColumnDescription) -> Any:
    """Parse `text` as a value of this column; None for NULL.

    A category is taken with its blanks; other values are stripped. The server decides whether the
    value was learnt.

    Raises:
        ValueError: the column cannot hold it.
    """
    if text not in column.categories:
        bare = text.strip()
        if column.other is None or bare in column.categories or bare.lower() == "null":
            text = bare
    if text.lower() == "null" and text not in column.categories:
        if not column.nullable:
            raise ValueError("not nullable")
        return None
    if column.kind == "categorical":
        return text
    if column.kind == "boolean":
        if text.lower() not in TRUE + FALSE:
            raise ValueError("not a boolean")
        return text.lower() in TRUE
    if column.kind == "datetime":
        return datetime.fromisoformat(text)
    number = int(text) if column.kind == "integer" else float(text)
    if number != number:
        raise ValueError("not a number")
    return number


def as_document(answer: Synthesis[list[dict[str, Any]]]) -> Mapping[str, Any]:
    """Convert the answer to the output of `--json`: rows, and their provenance; times in
    seconds.
    """
    made = answer.provenance
    rows: Sequence[Mapping[str, Any]] = answer.data
    return {
        "rows": rows,
        "provenance": {
            "synthetic": made.synthetic,
            "table": made.table,
            "version": made.version,
            "tier": made.tier,
            "steps": made.steps,
            "seed": made.seed,
            "from_pool": made.from_pool,
            "cached": made.cached,
            "epsilon": made.epsilon,
            "server_seconds": made.timings.total,
            "notices": made.notices,
            "outside_values": [asdict(each) for each in made.outside_values],
            "outside_totals": [asdict(each) for each in made.outside_totals],
            **({"routing": asdict(made.routing)} if made.routing is not None else {}),
        },
    }
