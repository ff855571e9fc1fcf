"""`cascade access`: creates keys for tenants, and checks access files before their use."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from cascade_server.access.access_file import NAME, load_access
from cascade_server.access.deciding import Presented, Refused, identify
from cascade_server.access.grants import AccessConfig, Caller, Grant, Kind, Rate, Reason
from cascade_server.access.keys import new_key
from cascade_server.errors import ServerError

FILE = click.argument("file", type=click.Path(path_type=Path), metavar="FILE")


@click.group()
def access() -> None:
    """Decide who may ask a server: `cascade serve --access FILE`.

    \b
    Example:
      cascade access new-key fraud-scoring         prints a key, once, and what goes into FILE
      cascade access check access.yaml
      cascade access explain access.yaml --key-env CASCADE_API_KEY --table credit
    """


@access.command("new-key", short_help="Make an API key for a tenant.")
@click.argument("tenant")
def new_key_command(tenant: str) -> None:
    """Make an API key for TENANT.

    The key is printed once, on the first line; whoever asks gets it (CASCADE_API_KEY). The rest is
    for the file: the key's name and its hash, from which nobody finds the key again.

    \b
    Example:
      cascade access new-key fraud-scoring
    """
    if not NAME.fullmatch(tenant):
        raise click.ClickException(
            f"a tenant is called {tenant[:80]!r}; allowed: up to 64 letters, digits, '.', '_' and "
            "'-', a letter or a digit first"
        )
    key, record = new_key()
    click.echo(key)
    if not sys.stdout.isatty():
        # Only the key goes to stdout, so that it can be redirected to a file.
        click.echo(_lines(tenant, record.id, record.sha256.hex()), err=True, nl=False)
        return
    click.echo(
        "\nThat is the key; it is not shown again. In the file of the server:\n\n"
        + _lines(tenant, record.id, record.sha256.hex()),
        nl=False,
    )


def _lines(tenant: str, name: str, sha256: str) -> str:
    return f"tenants:\n  {tenant}:\n    keys:\n      - {{id: {name}, sha256: {sha256}}}\n"


@access.command(short_help="Check a file, and show who may do what.")
@FILE
def check(file: Path) -> None:
    """Check FILE, as a server does before it goes by it; shows each tenant and what it may do.

    \b
    Example:
      cascade access check access.yaml
    """
    config = _load(file)
    now = time.time()
    for name, tenant in config.tenants.items():
        ways = []
        valid = [key for key in tenant.keys if key.expires is None or key.expires > now]
        if tenant.keys:
            gone = len(tenant.keys) - len(valid)
            ways.append(f"{len(valid)} keys" + (f" ({gone} expired)" if gone else ""))
        ways += [f"tokens of {rule.issuer}" for rule in tenant.tokens]
        ways += [f"certificate {each}" for each in tenant.certificates]
        click.echo(f"{name}: {', '.join(ways) or 'nobody can show that they are it'}")
        for line in described(tenant.grant):
            click.echo(f"  {line}")


@access.command(short_help="Show what somebody with a key may do.")
@FILE
@click.option(
    "--key-env",
    metavar="VARIABLE",
    default="CASCADE_API_KEY",
    show_default=True,
    help="The environment variable that holds the key; a key on the command line would be seen by "
    "all who list processes.",
)
@click.option("--table", help="May it see and ask this table?")
@click.option(
    "--kind",
    type=click.Choice([str(each) for each in Kind]),
    default=str(Kind.SYNTHESIZE),
    show_default=True,
    help="May it make such calls?",
)
def explain(file: Path, key_env: str, table: str | None, kind: str) -> None:
    """Show what FILE lets somebody do who has a key. Exit code 1: it may not.

    \b
    Example:
      CASCADE_API_KEY=csk_... cascade access explain access.yaml --table credit --kind generate
    """
    config = _load(file)
    key = os.environ.get(key_env, "")
    if not key:
        raise click.ClickException(f"{key_env} is not set; set it to the key")
    found = identify(config, Presented(key), (), time.time(), _no_tokens)
    if isinstance(found, Refused):
        raise click.ClickException(f"refused: {found.message}")
    click.echo(f"known as {found.tenant}, by its key {found.credential}")
    for line in described(found.grant):
        click.echo(f"  {line}")
    objections = objections_to(found, Kind(kind), table)
    for each in objections:
        click.echo(f"refused: {each}")
    if objections:
        raise SystemExit(1)
    click.echo(f"allowed: {kind}" + (f" of {table}" if table else ""))


def _no_tokens(_token: str, _now: float) -> Refused:
    return Refused(Reason.BAD_CREDENTIAL, "that is no API key; keys begin with csk_")


def objections_to(caller: Caller, kind: Kind, table: str | None) -> list[str]:
    """List why a caller may not make a kind of calls for a table; empty: it may."""
    found = []
    if kind not in caller.grant.kinds:
        found.append(f"{kind} is not in its `may` (PERMISSION_DENIED)")
    if table is not None and not caller.grant.sees(table):
        found.append(f"{table} is not in its `tables`: it is told that there is none (NOT_FOUND)")
    return found


def described(grant: Grant) -> list[str]:
    """Describe a tenant's permissions in words."""
    tables = "all" if grant.tables is None else ", ".join(sorted(grant.tables)) or "none"
    lines = [f"tables: {tables}", f"may: {', '.join(sorted(grant.kinds)) or 'nothing'}"]
    lines.append(f"priority: {grant.priority}")

    def rate(rate: Rate, of_what: str) -> str:
        return f"{rate.per_second:g} {of_what} a second, {rate.burst:g} at once"

    terms = [
        *([] if grant.requests is None else [rate(grant.requests, "requests")]),
        *([] if grant.rows is None else [rate(grant.rows, "rows")]),
        *([] if grant.rows_a_day is None else [f"{grant.rows_a_day:,} rows a day"]),
        *([] if grant.cost_a_day is None else [f"a cost of {grant.cost_a_day:g} a day"]),
        *([] if grant.max_rows is None else [f"{grant.max_rows:,} rows a request"]),
        *([] if grant.max_draws is None else [f"{grant.max_draws:,} draws a row"]),
        *([] if grant.connections is None else [f"{grant.connections:,} connections"]),
    ]
    return [*lines, f"at most: {'; '.join(terms) or 'as much as the server answers'}"]


def _load(file: Path) -> AccessConfig:
    try:
        return load_access(file)
    except ServerError as exc:
        raise click.ClickException(str(exc)) from exc
