"""`cascade sla`: how a running server keeps what it promises, on the terminal."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import click
from rich.console import Console
from rich.live import Live

from cascade_client.commands.connecting import AskFailed, connect, target_option
from cascade_client.commands.sla_printing import rendered
from cascade_client.errors import CascadeError
from cascade_client.values.service_level import ServiceLevel


@click.command(short_help="Show how a server keeps its service level objectives.")
@target_option
@click.option("--watch", is_flag=True, help="Go on showing it until Ctrl-C.")
@click.option(
    "--every",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks with --watch.",
)
@click.option(
    "--timeout", default=10.0, show_default=True, metavar="SECONDS", help="Patience for an answer."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a look, on one line.")
def sla(target: str, watch: bool, every: float, timeout: float, as_json: bool) -> None:
    """Show what a running server promises and how it keeps it.

    A line an objective: the share of events that were good, what is left of the error budget, and
    how fast it burns; a burn rate of 1 spends the whole budget in exactly the time it is for.
    `page` is to get up for, `ticket` to look at within days; docs/sla.md says when each is due.

    \b
    Examples:
      cascade sla
      cascade sla --watch --target scoring.internal:8470
      cascade sla --json | jq '.objectives[] | select(.alert != "ok") | .name'
    """
    console = Console()
    try:
        with connect(target, timeout=timeout) as client, contextlib.suppress(KeyboardInterrupt):
            wait = partial(time.sleep, every) if watch else None
            seen = looks(client.service_level, wait)
            if as_json:
                for level, trouble in seen:
                    print_json(level, trouble)
            elif not watch or not console.is_terminal:
                # A file or a log cannot be redrawn, so it gets one table per query.
                for level, trouble in seen:
                    console.print(rendered(level, target, console, trouble))
            else:
                with Live(console=console, auto_refresh=False) as live:
                    for level, trouble in seen:
                        picture = rendered(level, target, console, trouble)
                        live.update(picture, refresh=True)
    except CascadeError as exc:
        raise AskFailed(exc) from exc


def looks(
    fetch: Callable[[], ServiceLevel], wait: Callable[[], object] | None
) -> Iterator[tuple[ServiceLevel, str]]:
    """Yield the latest known level, and why it is outdated, if it is; again after each wait.

    Args:
        fetch: queries the server.
        wait: waits for the next query; None: query only once.

    Raises:
        CascadeError: the first query fails.
    """
    level, trouble = fetch(), ""
    yield level, trouble
    while wait is not None:
        wait()
        try:
            level, trouble = fetch(), ""
        except CascadeError as exc:
            trouble = f"no answer, trying again: {exc}"
        yield level, trouble


def print_json(level: ServiceLevel, trouble: str) -> None:
    """Print one line of JSON on standard output, or the trouble on standard error."""
    if trouble:
        click.echo(trouble, err=True)
    else:
        click.echo(json.dumps(as_document(level)))


def as_document(level: ServiceLevel) -> Mapping[str, Any]:
    """Return the output of `--json`; times in seconds."""
    document = asdict(level)
    document["since"] = level.since.isoformat() + "Z"
    for objective, source in zip(document["objectives"], level.objectives, strict=True):
        objective["burn_rates"] = {burn.name: asdict(burn) for burn in source.burn_rates}
    for latency in document["latencies"]:
        latency["quantiles"] = {
            f"p{100 * q:g}".replace(".", ""): seconds for q, seconds in latency["quantiles"].items()
        }
    return document
