"""`cascade cost`: what a running server's answers have cost, by tier, table and tenant."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from cascade_cost import DEFAULT_PRICES, CostError, Line, Statement, Usage, load_prices, statement
from cascade_cost.focus import as_csv
from click.core import ParameterSource
from rich.console import Console

from cascade_client.commands.connecting import AskFailed, connect, target_option
from cascade_client.commands.cost_printing import rendered
from cascade_client.errors import CascadeError


class CostFailed(click.ClickException):
    """Error in a file, worded for a terminal; exit code 1."""


@click.command(short_help="Show what a server's answers have cost.")
@click.argument("server", required=False, metavar="[TARGET]")
@target_option
@click.option(
    "--prices",
    type=click.Path(path_type=Path),
    envvar="CASCADE_PRICES",
    show_envvar=True,
    metavar="FILE",
    help="What cores, memory and GPUs cost; a list price where not given.",
)
@click.option(
    "--after",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Only what was used after an earlier look, kept from --json.",
)
@click.option(
    "--focus",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.csv",
    help="Write a FOCUS 1.2 file, to lie beside the cloud's bill.",
)
@click.option(
    "--timeout", default=10.0, show_default=True, metavar="SECONDS", help="Patience for an answer."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def cost(
    server: str | None,
    target: str,
    prices: Path | None,
    after: Path | None,
    focus: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Show what the answers of a running server have cost since it began to count.

    A line a tier, with the cost of 10,000 rows; then tables, and tenants where they are told apart.
    Idle is what was used for nobody: to load, to keep books, and memory that waited. Saved is what
    it would have cost beside this to have the teacher draw everything. docs/cost.md says how each
    is counted.

    \b
    Examples:
      cascade cost
      cascade cost scoring.internal:8470 --prices prices.yaml
      cascade cost --json > monday.json; cascade cost --after monday.json --focus week.csv
    """
    context = click.get_current_context()
    if server is not None:
        if context.get_parameter_source("target") is ParameterSource.COMMANDLINE:
            raise click.UsageError("TARGET and --target each name a server: give one of them")
        target = server
    try:
        paid = DEFAULT_PRICES if prices is None else load_prices(prices)
        before = None if after is None else kept_usage(after)
        with connect(target, timeout=timeout) as client:
            usage = client.usage()
        bill = statement(usage if before is None else later(usage, before, after), paid)
    except CascadeError as exc:
        raise AskFailed(exc) from exc
    except CostError as exc:
        raise CostFailed(str(exc)) from exc
    if focus is not None:
        try:
            focus.write_text(as_csv(bill), encoding="utf-8")
        except OSError as exc:
            raise CostFailed(f"{focus} cannot be written: {exc.strerror}") from exc
    if as_json:
        click.echo(json.dumps(as_document(bill, usage)))
        return
    console = Console()
    console.print(rendered(bill, target))
    if focus is not None:
        console.print(f"written to {focus}", soft_wrap=True)


def kept_usage(path: Path) -> Usage:
    """Read the output of `cascade cost --json`.

    Raises:
        CostError: it is not that.
    """
    try:
        return Usage.from_document(json.loads(path.read_text(encoding="utf-8"))["usage"])
    except OSError as exc:
        raise CostError(f"{path} cannot be read: {exc.strerror}") from exc
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise CostError(
            f"{path} is not what cascade cost --json prints ({type(exc).__name__}: {exc})"
        ) from exc


def later(usage: Usage, before: Usage, path: Path | None) -> Usage:
    """Return the usage since an earlier report.

    Raises:
        CostError: the earlier report has other counters.
    """
    if before.until > usage.until or abs(before.since - usage.since) > 1:
        raise CostError(
            f"{path} is of other counts than this server's: it began to count at another time. "
            "Counts outlive a server that has a --state-dir"
        )
    return usage.since_then(before)


def as_document(bill: Statement, usage: Usage) -> Mapping[str, Any]:
    """Return the output of `--json`: money as numbers in the prices' currency, times in seconds."""
    savings, prices = bill.savings, bill.prices
    total = bill.total
    return {
        "since": bill.since,
        "until": bill.until,
        "serving_seconds": bill.serving_seconds,
        "currency": prices.currency,
        "prices": {
            "core_hour": float(prices.core_hour),
            "gib_hour": float(prices.gib_hour),
            "gpu_hour": float(prices.gpu_hour),
            "source": prices.source,
        },
        "tiers": {tier: of_line(line) for tier, line in bill.by_tier().items()},
        "tables": {name: of_line(line) for name, line in bill.by(lambda line: line.table).items()},
        "tenants": {
            name: of_line(line) for name, line in bill.by(lambda line: line.tenant).items()
        },
        "lines": [
            {"table": line.table, "tier": line.tier, "tenant": line.tenant, **of_line(line)}
            for line in bill.lines
        ],
        "idle": of_line(bill.idle),
        "unused": None if bill.unused is None else of_line(bill.unused),
        "total": of_line(total),
        "saved": {
            "cost": float(savings.spent),
            "cost_by_teacher": float(savings.by_teacher),
            "saved": float(savings.saved),
            "saved_ratio": savings.ratio,
            "tables_without_teacher": savings.without,
            "tables_at_least": savings.at_least,
        },
        "usage": asdict(usage),
    }


def of_line(line: Line) -> Mapping[str, Any]:
    """Convert one line of a bill to numbers."""
    return {
        "cost": float(line.cost),
        "cost_per_10k_rows": None if line.per_10k is None else float(line.per_10k),
        "core_seconds": float(line.core_seconds),
        "gpu_seconds": float(line.gpu_seconds),
        "gib_seconds": float(line.gib_seconds),
        "answers": line.answers,
        "rows": line.rows,
        "values_drawn": line.tokens,
    }
