"""`cascade releases`: which releases a server has loaded, and which of them answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console

from cascade_client.commands.connecting import AskFailed, connect, control_options
from cascade_client.commands.releases_printing import rendered
from cascade_client.errors import CascadeError
from cascade_client.release_control import LOAD_TIMEOUT, Releases
from cascade_client.values.releases import ReleaseReport, ReleaseState

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def timeout_option(default: float) -> Callable[[Any], Any]:
    """Add a timeout option; loading needs a longer default."""
    return click.option(
        "--timeout",
        default=default,
        show_default=True,
        metavar="SECONDS",
        help="Patience for an answer.",
    )


@click.group(short_help="List, load, unload, try and promote a server's releases.")
@control_options
def releases(target: str) -> None:
    """Change what a running server has loaded, and which version answers.

    Releases are loaded by new processes while the old ones answer: callers do not notice. Who names
    no version is answered by one version of a table, and by a canary if there is one.

    \b
    Examples:
      cascade releases list
      cascade releases load credit --version 2
      cascade releases canary credit --version 2 --share 5%
      cascade releases promote credit
      cascade releases rollback credit

    A server takes no control over the network unless it was told to. Where it runs, ask over the
    socket in its state folder:

    \b
      cascade releases --state-dir /var/lib/cascade load credit
    """


@releases.command("list")
@control_options
@timeout_option(10.0)
@json_option
def list_(target: str, timeout: float, as_json: bool) -> None:
    """Show every release: its state, its share of the requests that name no version, its digest."""
    _do(target, as_json, lambda held: held.list(timeout=timeout))


@releases.command()
@click.argument("table", required=False, default="")
@click.option("--version", default=0, help="What the table's policy says by default.")
@control_options
@timeout_option(LOAD_TIMEOUT)
@json_option
def load(table: str, version: int, target: str, timeout: float, as_json: bool) -> None:
    """Load a release of TABLE; without a table, whatever has changed in the repository.

    Returns when new processes have verified and warmed it and have taken over. One that is damaged
    is refused, which exits with status 1, and what was served goes on being served.

    \b
    Examples:
      cascade releases load
      cascade releases load credit --version 2
    """
    report = _do(target, as_json, lambda held: held.load(table, version, timeout=timeout))
    if failed := not_loaded(report, table, version):
        raise click.ClickException(failed)


@releases.command()
@click.argument("table")
@click.option("--version", default=0, help="All of the table's by default.")
@control_options
@timeout_option(LOAD_TIMEOUT)
@json_option
def unload(table: str, version: int, target: str, timeout: float, as_json: bool) -> None:
    """Unload a version of TABLE, or all of them.

    \b
    Example:
      cascade releases unload credit --version 1
    """
    _do(target, as_json, lambda held: held.unload(table, version, timeout=timeout))


@releases.command()
@click.argument("table")
@click.option("--version", type=click.IntRange(1), required=True, help="The version on trial.")
@click.option("--share", default="5%", show_default=True, help="Its share, as 5% or 0.05.")
@control_options
@timeout_option(10.0)
@json_option
def canary(
    table: str, version: int, share: str, target: str, timeout: float, as_json: bool
) -> None:
    """Put a loaded version of TABLE on trial with a share of the requests that name none.

    It is promoted once it has kept the table's objectives for long enough, and rolled back as soon
    as it breaks one that the version beside it keeps.

    \b
    Example:
      cascade releases canary credit --version 2 --share 5%
    """
    _do(target, as_json, lambda held: held.canary(table, version, share_of(share), timeout=timeout))


@releases.command()
@click.argument("table")
@click.option("--version", default=0, help="The canary by default.")
@control_options
@timeout_option(10.0)
@json_option
def promote(table: str, version: int, target: str, timeout: float, as_json: bool) -> None:
    """Let a loaded version of TABLE answer who names none, from this instant on.

    \b
    Example:
      cascade releases promote credit --version 2
    """
    _do(target, as_json, lambda held: held.promote(table, version, timeout=timeout))


@releases.command()
@click.argument("table")
@control_options
@timeout_option(10.0)
@json_option
def rollback(table: str, target: str, timeout: float, as_json: bool) -> None:
    """End the trial of TABLE's canary; without one, let answer who did before. At once.

    \b
    Example:
      cascade releases rollback credit
    """
    _do(target, as_json, lambda held: held.roll_back(table, timeout=timeout))


def share_of(text: str) -> float:
    """Parse "5%" or "0.05".

    Raises:
        BadParameter: it is neither.
    """
    number, percent, rest = text.strip().partition("%")
    try:
        if rest:
            raise ValueError
        return float(number) / (100 if percent else 1)
    except ValueError as exc:
        raise click.BadParameter(f"{text!r}; allowed: as in 5% or 0.05") from exc


def not_loaded(report: ReleaseReport, table: str, version: int) -> str:
    """Return why the requested release is not loaded; empty if it is.

    Args:
        report: the state after the load.
        table, version: the request, as given: empty and 0 if left out.
    """
    wanted = [
        each
        for each in report.releases
        if table in ("", each.table) and version in (0, each.version)
    ]
    refused = [each for each in wanted if each.state is ReleaseState.REFUSED]
    if refused:
        return "\n".join(
            f"{each.table} {each.version} was refused: {each.reason or 'no reason was given'}"
            for each in refused
        )
    if table and not any(each.state is ReleaseState.LOADED for each in wanted):
        name = f"{table} {version}" if version else f"no release of {table}"
        return f"{name} is {'not ' if version else ''}loaded"
    return ""


def _do(target: str, as_json: bool, ask: Callable[[Releases], ReleaseReport]) -> ReleaseReport:
    """Make a change, and print the state after it."""
    try:
        with connect(target) as client:
            report = ask(client.releases)
    except CascadeError as exc:
        raise AskFailed(exc) from exc
    if as_json:
        click.echo(json.dumps(as_document(report)))
    else:
        console = Console(highlight=False)
        console.print(rendered(report, target))
    return report


def as_document(report: ReleaseReport) -> Mapping[str, Any]:
    """Convert the report to the output of `--json`; times in ISO 8601, UTC."""
    return {**asdict(report), "since": report.since.isoformat() + "Z"}
