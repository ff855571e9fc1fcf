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

from cascade_client.answers import ColumnDescription, Synthesis, TableDescription, to_microseconds
from cascade_client.client import Client
from cascade_client.commands.ask_printing import print_rows
from cascade_client.commands.connecting import AskFailed, target_option
from cascade_client.errors import CascadeError
from cascade_client.wire import Fidelity

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
@click.option("--columns", metavar="A,B,...", help="Return only these columns.")
@click.option("--seed", type=int, help="The same seed gives the same rows.")
@click.option("--full", "fidelity", flag_value="full", help="Ask the teacher: slow, faithful.")
@click.option("--fast", "fidelity", flag_value="fast", help="Ask the student.")
@click.option("--version", type=int, help="The release; the latest where not given.")
@target_option
@click.option(
    "--timeout", default=10.0, show_default=True, metavar="SECONDS", help="Patience with --draws."
)
@click.option("--explain", is_flag=True, help="Say which tiers were considered, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def ask(
    table: str,
    given: tuple[str, ...],
    draws: int,
    generate: int | None,
    columns: str | None,
    seed: int | None,
    fidelity: Fidelity | None,
    version: int | None,
    target: str,
    timeout: float,
    explain: bool,
    as_json: bool,
) -> None:
    """Ask a running server for rows of TABLE.

    Columns that are not given are drawn from their distribution given those that are. The
    server's columns, and what each may hold, are what an unknown name or a bad value is answered
    with.

    \b
    Examples:
      cascade ask credit --given limit_bal=20000 --given age=25 --draws 5
      cascade ask credit --given sex=female --full --seed 7 --columns age,limit_bal
      cascade ask adult --generate 1000 --json
    """
    if generate is not None and (draws != 1 or fidelity == "fast"):
        raise click.UsageError("--generate asks the teacher for rows: leave out --draws and --fast")
    names = [name.strip() for name in columns.split(",")] if columns else None
    console = Console()
    try:
        with Client(target, timeout=timeout) as client:
            schema = client.describe(table, version=version)
            known = parse_all_given(given, schema)
            for name in names or ():
                find_column(name, schema, "--columns")
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
    """Name and typed value of a ``COLUMN=VALUE``.

    Raises:
        click.BadParameter: no "=", no such column, or a value that the column cannot hold;
            names what is allowed.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(
            f"{text!r} has no '='; COLUMN=VALUE is wanted", param_hint="--given"
        )
    column = find_column(name.strip(), schema, "--given")
    try:
        return column.name, parse_value(value.strip(), column)
    except ValueError as exc:
        raise click.BadParameter(
            f"{column.name} cannot be {value.strip()!r}; allowed: {column.allowed}",
            param_hint="--given",
        ) from exc


def find_column(name: str, schema: TableDescription, option: str) -> ColumnDescription:
    """The column of that name.

    Raises:
        click.BadParameter: there is none; names those that there are.
    """
    column = schema.column(name)
    if column is not None:
        return column
    names = [column.name for column in schema.columns]
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise click.BadParameter(
        f"{schema.table} has no column {name!r}.{hint} Its columns: {', '.join(names)}",
        param_hint=option,
    )


def parse_value(text: str, column: ColumnDescription) -> Any:
    """The value that `text` is for this column; None for NULL.

    Raises:
        ValueError: the column cannot hold it.
    """
    if text.lower() == "null" and text not in column.categories:
        if not column.nullable:
            raise ValueError("not nullable")
        return None
    if column.kind == "categorical":
        if text not in column.categories and column.other is None:
            raise ValueError("not a category")
        return text
    if column.kind == "boolean":
        if text.lower() not in TRUE + FALSE:
            raise ValueError("not a boolean")
        return text.lower() in TRUE
    if column.kind == "datetime":
        moment = datetime.fromisoformat(text)
        _within(to_microseconds(moment), column)
        return moment
    return _within(int(text) if column.kind == "integer" else float(text), column)


def _within(number: float, column: ColumnDescription) -> float:
    low, high = column.minimum, column.maximum
    # Written so that NaN, which no comparison holds for, is out of bounds.
    if not (low is None or number >= low) or not (high is None or number <= high):
        raise ValueError("out of bounds")
    return number


def as_document(answer: Synthesis[list[dict[str, Any]]]) -> Mapping[str, Any]:
    """The answer as what `--json` prints: rows, and where they come from; times in seconds."""
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
            **({"routing": asdict(made.routing)} if made.routing is not None else {}),
        },
    }
