"""`cascade jobs`: many rows, made in the background and kept as files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cascade_client.client import Client
from cascade_client.commands.ask import (
    named,
    no_column,
    parse_all_given,
    parse_columns,
    parse_value,
)
from cascade_client.commands.connecting import AskFailed, connect, control_options
from cascade_client.commands.jobs_printing import as_document, line, listed, shown_in_full
from cascade_client.connected_tables import fetch_into, is_one_thing, read_rows
from cascade_client.errors import CascadeError, MissingDependency
from cascade_client.job_control import TIMEOUT, Jobs, explained
from cascade_client.messages.wire import Fidelity
from cascade_client.values.descriptions import TableDescription
from cascade_client.values.jobs import Job, JobState

T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one job a line.")
timeout_option = click.option(
    "--timeout",
    default=TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="Patience for an answer; a job may take as long as it takes.",
)


@click.group(short_help="Have many rows made in the background, as Parquet files.")
@control_options
def jobs(target: str) -> None:
    """Have a server make many rows in the background, and keep them as Parquet files.

    A job outlives this command, and the server: one that is killed goes on where it was. The same
    specification and seed give the same files, byte for byte.

    \b
    Examples:
      cascade jobs submit credit --rows 1000000 --watch
      cascade jobs submit adult --rows 20000 --balance income --fast
      cascade jobs submit credit --conditions applicants.csv --draws 8
      cascade jobs list
      cascade jobs show 5f3a9c1e7b20
      cascade jobs fetch 5f3a9c1e7b20 --out rows

    A server needs a folder that outlives it: `cascade serve --state-dir FOLDER`. Over its socket
    there results may go anywhere:

    \b
      cascade jobs --state-dir /var/lib/cascade submit credit --rows 1000 --output /data/credit
    """


@jobs.command()
@click.argument("table")
@click.option("--rows", type=click.IntRange(1), help="Rows to make.")
@click.option(
    "--full",
    "fidelity",
    flag_value="full",
    help="The teacher draws: slow, faithful. So it is if nothing is said.",
)
@click.option("--fast", "fidelity", flag_value="fast", help="The student draws: far faster.")
@click.option("--given", "-g", multiple=True, metavar="COLUMN=VALUE", help="All rows share it.")
@click.option(
    "--balance",
    metavar="COLUMN",
    help="Have the values of a column come equally often, or as --share says.",
)
@click.option(
    "--share",
    "shares",
    multiple=True,
    metavar="VALUE=WEIGHT",
    help="How often a value of the balanced column is to come; repeat it.",
)
@click.option(
    "--conditions",
    metavar="FILE|URL",
    help="Rows to complete, with some of the table's columns: CSV, Parquet or Arrow, or a table or "
    "query that a URL names.",
)
@click.option("--draws", type=click.IntRange(1), default=1, help="Rows for each of these.")
@click.option("--columns", multiple=True, metavar="A,B,...", help="Write only these; repeat it.")
@click.option("--seed", type=click.IntRange(0), help="The same seed gives the same files.")
@click.option("--version", type=click.IntRange(1), help="The release; the latest if not given.")
@click.option(
    "--output",
    default="",
    metavar="FOLDER|FILE|URL",
    help="Where the rows go, of the server's: a folder for files, one file, or a database's table; "
    "its own folder for results if not given.",
)
@click.option("--token", help="A name for this job: asked for again, it is the same one.")
@click.option("--fresh", is_flag=True, help="Make the rows though there is such a job already.")
@click.option("--watch", "watches", is_flag=True, help="Wait until it has ended.")
@control_options
@timeout_option
@json_option
def submit(
    table: str,
    rows: int | None,
    fidelity: Fidelity | None,
    given: tuple[str, ...],
    balance: str | None,
    shares: tuple[str, ...],
    conditions: str | None,
    draws: int,
    columns: tuple[str, ...],
    seed: int | None,
    version: int | None,
    output: str,
    token: str | None,
    fresh: bool,
    watches: bool,
    target: str,
    timeout: float,
    as_json: bool,
) -> None:
    """Ask for rows of TABLE, to be made in the background.

    Returns at once, with the job's id. A job of the same specification that there is already is
    taken, unless --fresh is given.

    \b
    Examples:
      cascade jobs submit credit --rows 1000000
      cascade jobs submit credit --rows 50000 --given sex=2 --seed 7 --watch
      cascade jobs submit adult --rows 20000 --balance income --share '>50K=1' --share '<=50K=3'
      cascade jobs submit credit --conditions applicants.parquet --draws 8 --fast
    """
    if (rows is None) == (conditions is None):
        raise click.UsageError("give --rows N or --conditions FILE: one of them")
    if shares and balance is None:
        raise click.UsageError("--share is for the values of --balance COLUMN, which is not given")

    def ask(client: Client, held: Jobs) -> Job:
        schema = client.describe(table, version=version, timeout=timeout)
        if balance is not None and named(balance, schema) is None:
            raise no_column(balance, schema, "--balance")
        return held.submit(
            table,
            rows or 0,
            fidelity=fidelity or "full",
            version=version,
            seed=seed,
            columns=[name for text in columns for name in parse_columns(text, schema)] or None,
            given=parse_all_given(given, schema) or None,
            balance=balance,
            shares=parse_shares(shares, balance, schema) if balance and shares else None,
            conditions=None if conditions is None else read_rows(conditions),
            draws=draws,
            output=output,
            token=token,
            fresh=fresh,
            timeout=timeout,
        )

    job = _ask(target, ask)
    if job.reused and not as_json:
        click.echo(
            f"{job.id} is of this specification already; --fresh makes the rows anew", err=True
        )
    if watches:
        _watch(target, job.id, as_json)
        return
    _print(job, as_json)


@jobs.command("list")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@control_options
@timeout_option
@json_option
def list_(limit: int, target: str, timeout: float, as_json: bool) -> None:
    """Show the newest jobs: their states, how far they are, and what they wait for."""
    found = _ask(target, lambda _, held: held.list(limit, timeout=timeout))
    if as_json or (found and not sys.stdout.isatty()):
        for job in found:
            _print(job, as_json)
        return
    if not found:
        click.echo("there are no jobs; `cascade jobs submit TABLE --rows N` asks for one")
        return
    Console(highlight=False).print(listed(found))


@jobs.command()
@click.argument("job")
@control_options
@timeout_option
@json_option
def show(job: str, target: str, timeout: float, as_json: bool) -> None:
    """Show JOB: what it makes, how far it is, its files, and which executors may run it.

    Why an executor may not, or may, says the server's policy (docs/residency.md); a server without
    one keeps no job from anybody.
    """
    found = _ask(target, lambda _, held: held.get(job, files=True, timeout=timeout))
    click.echo(json.dumps(as_document(found)) if as_json else shown_in_full(found))


@jobs.command()
@click.argument("job")
@control_options
@json_option
def watch(job: str, target: str, as_json: bool) -> None:
    """Wait until JOB has ended: a bar on a terminal, elsewhere a line whenever it has gone on.

    Exits with status 1 where it failed or was cancelled. Ctrl-C ends the watching, not the job.
    """
    _watch(target, job, as_json)


@jobs.command()
@click.argument("job")
@control_options
@timeout_option
@json_option
def cancel(job: str, target: str, timeout: float, as_json: bool) -> None:
    """End JOB, which has not ended; the files that it has made so far are removed."""
    _print(_ask(target, lambda _, held: held.cancel(job, timeout=timeout)), as_json)


@jobs.command()
@click.argument("job")
@click.option(
    "--out",
    metavar="FOLDER|FILE|URL",
    help="Where to: a folder, one file (.parquet, .csv, .csv.gz, .arrow), or a database's table; a "
    "folder of the job's name if not given.",
)
@click.option("--append", is_flag=True, help="Put them behind the rows that a table has.")
@control_options
@json_option
def fetch(job: str, out: str | None, append: bool, target: str, as_json: bool) -> None:
    """Download the files of JOB, which is done, and check them.

    What is there already is not fetched again, and a file that was begun is gone on with.

    \b
    Example:
      cascade jobs fetch 5f3a9c1e7b20 --out rows && python -c \\
        'import pandas; print(pandas.read_parquet("rows/data"))'
      cascade jobs fetch 5f3a9c1e7b20 --out rows.csv
      cascade jobs fetch 5f3a9c1e7b20 --out postgresql://ann@db.example.org/bank#payments_made

    One file and a table are written whole, or not at all: a table that has rows is left alone,
    unless --append is given. A database's password is read from CASCADE_DATABASE_PASSWORD, or from
    the file that CASCADE_DATABASE_PASSWORD_FILE names.
    """
    if out is not None and _ask_nobody(lambda: is_one_thing(out)):
        rows = _ask(target, lambda _, held: _deliver(held, job, out, append))
        click.echo(json.dumps({"id": job, "rows": rows}) if as_json else f"{rows:,} rows are there")
        return
    if append:
        raise click.UsageError("--append is for a table: --out URL")
    folder = Path(out or job)

    def ask(_: Client, held: Jobs) -> Sequence[Path]:
        with _bar("fetching", "bytes") as progress:
            return held.fetch(job, folder, progress)

    paths = _ask(target, ask)
    if as_json:
        click.echo(json.dumps({"id": job, "files": [str(path) for path in paths]}))
    else:
        with_rows = {path.parent for path in paths if path.suffix == ".parquet"}
        where = f"; rows are in {next(iter(with_rows))}" if len(with_rows) == 1 else ""
        click.echo(f"{len(paths)} files are in {folder}, checked{where}")


def _deliver(held: Jobs, job: str, out: str, append: bool) -> int:
    with _bar("fetching", "bytes") as progress:
        return fetch_into(held, job, out, append=append, progress=progress)


# What the commands share.


def _ask(target: str, ask: Callable[[Client, Jobs], T]) -> T:
    try:
        with connect(target) as client:
            return ask(client, Jobs(client))
    except CascadeError as exc:
        raise AskFailed(explained(exc)) from exc
    except MissingDependency as exc:
        raise click.ClickException(str(exc)) from exc
    except OSError as exc:
        where = f"{exc.filename}: " if exc.filename else ""
        raise click.ClickException(f"{where}{exc.strerror or exc}") from exc


def _ask_nobody(decide: Callable[[], T]) -> T:
    try:
        return decide()
    except (CascadeError, MissingDependency) as exc:
        raise click.ClickException(str(exc)) from exc


def _print(job: Job, as_json: bool) -> None:
    click.echo(json.dumps(as_document(job)) if as_json else line(job))


def _watch(target: str, job: str, as_json: bool) -> None:
    def ask(_: Client, held: Jobs) -> Job:
        if as_json or not sys.stderr.isatty():
            return _tell_of(held, job, as_json)
        with _bar(job, "rows") as progress:
            return held.wait(job, progress)

    ended = _ask(target, ask)
    if not as_json and sys.stderr.isatty():
        click.echo(line(ended))
    if ended.state is not JobState.DONE:
        raise SystemExit(1)


def _tell_of(held: Jobs, job: str, as_json: bool) -> Job:
    """Print a line whenever the job has advanced by a hundredth, or waits."""
    told: tuple[object, ...] = ()
    found = None
    for found in held.watch(job):
        now = found.state, 100 * found.rows_done // max(1, found.rows), found.waiting
        if now != told:
            told = now
            _print(found, as_json)
    assert found is not None
    return found


@contextmanager
def _bar(what: str, unit: str) -> Iterator[Callable[[int, int], object]]:
    """Show a bar on a terminal; otherwise show nothing."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        *(TextColumn(unit), TimeRemainingColumn()),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def parse_shares(
    shares: tuple[str, ...], balance: str, schema: TableDescription
) -> Mapping[Any, float]:
    """Weights by value of a column.

    Raises:
        click.BadParameter: no "=", no weight, or a value that the column cannot hold or that comes
            twice.
    """
    column = named(balance, schema)
    assert column is not None
    out: dict[Any, float] = {}
    for text in shares:
        value, equals, weight = text.rpartition("=")
        try:
            if not equals:
                raise ValueError
            number = float(weight)
        except ValueError as exc:
            raise click.BadParameter(
                f"{text!r}; VALUE=WEIGHT is wanted, as in 'yes=1'", param_hint="--share"
            ) from exc
        try:
            held = parse_value(value, column)
        except ValueError as exc:
            raise click.BadParameter(
                f"{column.name} cannot be {value!r}; allowed: {column.allowed}",
                param_hint="--share",
            ) from exc
        if held in out:
            raise click.BadParameter(f"{value!r} is given twice", param_hint="--share")
        out[held] = number
    return out
