"""`cascade audit`: list decisions, and check whether their log was changed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cascade_jobs.audit.log import FOLDER, LOG, Checkpoint
from cascade_jobs.audit.verifying import (
    Content,
    Findings,
    checkpoint_of,
    content_of,
    read_entries,
    verify,
)
from cascade_jobs.errors import AuditRefused

state_option = click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="The server's, which has the log below it.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, a document a line.")


@click.group(short_help="Show what was decided about jobs, and verify that nobody changed it.")
def audit() -> None:
    """What a server with a policy decided about jobs, and whether the log of it is whole.

    The log is in the server's state folder and is read there; no server need run.

    \b
    Examples:
      cascade audit list --state-dir /var/lib/cascade
      cascade audit verify --state-dir /var/lib/cascade
      cascade audit checkpoint --state-dir /var/lib/cascade >> kept-elsewhere.jsonl
      cascade audit verify --state-dir /var/lib/cascade --checkpoint kept-elsewhere.jsonl
    """


@audit.command("list")
@state_option
@click.option("--job", help="Only what was decided about this job.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@json_option
def list_(state_dir: Path, job: str | None, limit: int, as_json: bool) -> None:
    """Show the newest entries, newest last. Whether they are true `verify` says."""
    content = _content(state_dir)
    if content.is_gone:
        raise click.ClickException(
            f"{state_dir / FOLDER / LOG} is gone; `cascade audit verify` says how many entries "
            "it had"
        )
    found = (each for each in read_entries(content) if job is None or each.get("job") == job)
    entries = list(found)[-limit:]
    if as_json or not sys.stdout.isatty():
        for entry in entries:
            click.echo(json.dumps(entry) if as_json else line_of(entry))
        return
    if not entries:
        click.echo("no entries" + (f" of job {job}" if job else ""))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("entry", "time", "event", "tenant", "job", "table", "executor", ""):
        table.add_column(name, overflow="fold")
    for entry in entries:
        allowed = entry.get("allowed")
        style = "" if allowed is None else "green" if allowed else "red"
        table.add_row(
            str(entry.get("index", "")),
            time_of(entry),
            Text(str(entry.get("event", "")), style=style),
            *(str(entry.get(name, "")) for name in ("tenant", "job", "table", "executor")),
            reasons_of(entry),
        )
    Console(highlight=False).print(table)


@audit.command("verify")
@state_option
@click.option(
    "--checkpoint",
    "kept",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A checkpoint that was kept elsewhere, in the file's last line.",
)
@json_option
def verify_(state_dir: Path, kept: Path | None, as_json: bool) -> None:
    """Find entries that were changed, are missing, or were cut off; exits with 1 where there are.

    Whoever may write in the folder may write log and checkpoints anew. Only a checkpoint that was
    kept elsewhere (`cascade audit checkpoint`) shows that.
    """
    content = _content(state_dir)
    try:
        findings = verify(content, None if kept is None else checkpoint_of(kept))
    except AuditRefused as exc:
        raise click.ClickException(str(exc)) from exc
    click.echo(json.dumps(document(findings)) if as_json else report(findings))
    if not findings.is_sound:
        raise SystemExit(1)


@audit.command()
@state_option
def checkpoint(state_dir: Path) -> None:
    """Print a checkpoint of the log, to be kept where the server cannot write: one line of JSON.

    A log that is not sound has none.
    """
    findings = verify(_content(state_dir))
    if not findings.is_sound:
        click.echo(report(findings), err=True)
        raise SystemExit(1)
    now = Checkpoint(findings.size, findings.root, datetime.now(UTC).timestamp())
    click.echo(now.to_line().decode(), nl=False)


def _content(state_dir: Path) -> Content:
    try:
        return content_of(state_dir / FOLDER)
    except AuditRefused as exc:
        raise click.ClickException(str(exc)) from exc


def report(findings: Findings) -> str:
    """Format the findings for the user."""
    if findings.is_sound:
        first = f"{findings.size:,} entries are what was written; root {findings.root}"
    else:
        first = f"the log of {findings.size:,} entries is not what was written:"
    return "\n  ".join([first, *findings.faults, *findings.remarks])


def document(findings: Findings) -> Mapping[str, Any]:
    """Return the findings in the format of `cascade audit verify --json`."""
    return {
        "sound": findings.is_sound,
        "size": findings.size,
        "root": findings.root,
        "faults": list(findings.faults),
        "remarks": list(findings.remarks),
    }


def line_of(entry: Mapping[str, Any]) -> str:
    """Format an entry as a line."""
    names = ("event", "tenant", "call", "job", "table", "executor")
    parts = [str(entry.get("index", "")), time_of(entry)]
    parts += [str(entry[name]) for name in names if entry.get(name)]
    why = reasons_of(entry)
    return " ".join(parts) + (f": {why}" if why else "")


def reasons_of(entry: Mapping[str, Any]) -> str:
    """Return the reasons of a decision; "" if there are no readable ones."""
    reasons = entry.get("reasons")
    return "; ".join(map(str, reasons)) if isinstance(reasons, list) else ""


def time_of(entry: Mapping[str, Any]) -> str:
    """Return when an entry was written, UTC."""
    time = entry.get("time")
    if not isinstance(time, int | float):
        return ""
    try:
        return datetime.fromtimestamp(time, UTC).isoformat(sep=" ", timespec="seconds")[:19]
    except (ValueError, OverflowError, OSError):
        return ""
