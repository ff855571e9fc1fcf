"""`cascade size`: how many cores a load takes, from measured curves, with no server running."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from cascade_tables import CascadeTablesError, list_releases, load_release

from cascade_cost.curves import MEASURED, Curves, load_curves
from cascade_cost.errors import CostError
from cascade_cost.prices import DEFAULT_PRICES, Prices, load_prices
from cascade_cost.sizing import HOURS_A_MONTH, Load, Size
from cascade_cost.sizing import size as sized

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class Duration(click.ParamType):  # type: ignore[type-arg] # generic since 8.5 only
    """Command-line type of a duration: 10ms, 0.01s, 500us."""

    name = "TIME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse a duration with its unit to seconds; fails as click's types do."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(us|ms|s)", str(value).strip())
        seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
        if not 0 < seconds < math.inf:
            self.fail(f"{value!r} is no time; allowed: 10ms, 0.01s or 500us", param, ctx)
        return seconds


class Rate(click.FloatRange):
    """Command-line type of calls per second; unlike click's ranges it refuses NaN."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse calls per second, above 0."""
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is no number", param, ctx)
        return found


POSITIVE = Rate(min=0, min_open=True, max=1e7)


@click.command(short_help="Say how many cores a load takes.")
@click.option("--rate", type=POSITIVE, required=True, help="Calls a second, all together.")
@click.option(
    "--late",
    type=click.IntRange(1, 100_000),
    default=3,
    show_default=True,
    help="Columns of each row that are drawn.",
)
@click.option(
    "--p99",
    type=Duration(),
    default="10ms",
    show_default=True,
    help="Within which 99 of 100 calls are to be answered.",
)
@click.option(
    "--draws",
    type=click.IntRange(1, 10**6),
    default=1,
    show_default=True,
    help="Draws of each row.",
)
@click.option(
    "--rows", type=click.IntRange(1, 10**6), default=1, show_default=True, help="Rows of a call."
)
@click.option("--table", default="", help="Whose calls they are; as wide as the measured ones.")
@click.option("--columns", type=click.IntRange(1, 100_000), help="Columns of the table.")
@click.option(
    "--release-repository",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="A model repository, which says how many columns TABLE has.",
)
@click.option(
    "--curves",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What was measured on your machine; those that come with cascade where not given.",
)
@click.option("--no-teacher", is_flag=True, help="No core for the pool, jobs and full fidelity.")
@click.option(
    "--prices",
    type=click.Path(path_type=Path),
    envvar="CASCADE_PRICES",
    show_envvar=True,
    metavar="FILE",
    help="What cores and memory cost; a list price where not given.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def size(
    rate: float,
    late: int,
    p99: float,
    draws: int,
    rows: int,
    table: str,
    columns: int | None,
    release_repository: Path | None,
    curves: Path | None,
    no_teacher: bool,
    prices: Path | None,
    as_json: bool,
) -> None:
    """Say how many cores keep a p99 at a rate, from what calls were measured to take.

    What it rests on is said below the answer, and in docs/sizing.md; with
    `python -m benchmarks.sizing --curves FILE` you measure your own machine.

    \b
    Examples:
      cascade size --rate 500 --late 3 --p99 10ms
      cascade size --rate 2000 --draws 32 --p99 25ms --table credit
      cascade size --rate 500 --table mine --release-repository model_repository
    """
    try:
        measured = load_curves(MEASURED if curves is None else curves)
        paid = DEFAULT_PRICES if prices is None else load_prices(prices)
        wide = columns or columns_of(release_repository, table) or 0
        if wide and late > wide:
            raise click.UsageError(f"--late is {late}; allowed: up to {wide}, the table's columns")
        load = Load(rate, late, rows, draws, p99, wide)
        found = sized(load, measured, table, not no_teacher)
    except (CostError, CascadeTablesError) as exc:
        raise click.ClickException(str(exc)) from exc
    month = HOURS_A_MONTH * (
        paid.core_hour * found.cores + paid.gib_hour * round(found.memory_mib) / 1024
    )
    if as_json:
        click.echo(
            json.dumps(
                {
                    **asdict(found),
                    "cost_per_month": float(month),
                    "currency": paid.currency,
                    "load": asdict(load),
                }
            )
        )
        return
    for line in said(load, found, measured, paid, float(month)):
        click.echo(line)


def columns_of(repository: Path | None, table: str) -> int | None:
    """Return how many columns a table has; None: no repository is named.

    Raises:
        CascadeTablesError: there is no such release.
        click.UsageError: no table is named.
    """
    if repository is None:
        return None
    if not table:
        raise click.UsageError("--release-repository needs --table, to say which of its tables")
    versions = list_releases(repository)
    if table not in versions:
        known = ", ".join(sorted(versions)) or "none"
        raise click.UsageError(f"{repository} has no table {table!r}; it has: {known}")
    return len(load_release(repository, table, versions[table][-1]).codec.schema.columns)


def said(load: Load, found: Size, curves: Curves, prices: Prices, month: float) -> list[str]:
    """Return the answer in lines."""
    plural = "s" if found.workers > 1 else ""
    teacher = " and one for the teacher" if found.cores > found.workers else ""
    what = f"{load.rows:,} row{'s' * (load.rows > 1)} x {load.draws:,} draw{'s' * (load.draws > 1)}"
    return [
        f"{found.cores} cores: {found.workers} worker{plural}{teacher}; "
        f"{found.memory_mib:,.0f} MiB of memory; about {month:,.0f} {prices.currency} a month",
        f"  cascade serve --workers {found.workers}",
        "",
        f"{load.rate:,.0f} calls/s of {what}, {load.late} columns late: "
        f"{1e3 * found.core_seconds:.2f} ms of a core each",
        f"each worker is busy {100 * found.utilisation:.0f} % of the time, and may be "
        f"{100 * found.most_utilisation:.0f} %: up to {found.calls_a_worker:,.0f} calls/s each",
        f"expected p99: {1e3 * found.p99:.1f} ms, of {1e3 * load.p99:g} ms; "
        f"{1e3 * found.alone_p99:.1f} ms where nothing else is to be done",
        "",
        "This rests on:",
        *(f"- {each}" for each in found.assumptions),
    ]
