"""Printing of offline jobs on a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from cascade_client.values.jobs import Job, JobState

STYLES = {
    JobState.PENDING: "yellow",
    JobState.RUNNING: "cyan",
    JobState.DONE: "green",
    JobState.FAILED: "bold red",
    JobState.CANCELLED: "dim",
}


def listed(jobs: Sequence[Job]) -> Table:
    """Return a table of jobs, one per row; below it, why any job cannot continue."""
    out = Table(box=None, pad_edge=False)
    for name in ("job", "state", "table", "tier"):
        out.add_column(name)
    for name in ("rows", "done"):
        out.add_column(name, justify="right")
    out.add_column("created")
    out.add_column("output", overflow="fold")
    for job in jobs:
        out.add_row(
            job.id,
            Text(job.state, style=STYLES.get(job.state, "")),
            f"{job.table} {job.version}",
            job.tier,
            f"{job.rows:,}",
            f"{percent(job)} %",
            shown(job.created),
            job.output,
        )
        if why := job.reason or job.waiting:
            out.add_row("", Text(why, style="red" if job.reason else "yellow"))
    return out


def percent(job: Job) -> int:
    """Return the percentage of the job's rows that are made; 100 only if all are."""
    return 100 * job.rows_done // job.rows if job.rows else 0


def line(job: Job) -> str:
    """Describe a job's state in one line."""
    out = f"{job.id} {job.state} {job.rows_done:,} of {job.rows:,} rows"
    if job.state is JobState.DONE:
        return f"{out}, {job.files} files of {job.bytes:,} bytes at {job.output}"
    return out + (f": {why}" if (why := job.reason or job.waiting) else "")


def shown_in_full(job: Job) -> str:
    """Describe a job in full, one property per line."""
    made = job.specification
    rows = [
        ("job", line(job)),
        ("release", f"{job.table} {job.version} ({job.release})"),
        ("drawn by", f"{job.tier}, seed {job.seed}"),
        ("given", ", ".join(f"{name} = {value}" for name, value in made.get("given", {}).items())),
        ("created", shown(job.created)),
        ("started", shown(job.started)),
        ("finished", shown(job.finished)),
        ("output", job.output),
    ]
    rows += [
        (
            "file",
            f"{each.name}  {f'{each.rows:,} rows  ' if each.rows else ''}{each.bytes:,} bytes  "
            f"{each.sha256}",
        )
        for each in job.result_files
    ]
    for each in job.executors:
        may = "may run it" if each.may_run else "may not run it"
        kind = f" ({each.kind})" if each.kind not in ("", each.name) else ""
        rows.append(("executor", f"{each.name}{kind} {may}: {'; '.join(each.reasons)}"))
    return "\n".join(f"{name:<9} {text}" for name, text in rows if text)


def shown(time: datetime | None) -> str:
    """A time for people, UTC."""
    return "–" if time is None else time.isoformat(sep=" ", timespec="seconds")


def as_document(job: Job) -> Mapping[str, Any]:
    """Convert a job to the output of `--json`; times in ISO 8601, UTC."""
    content = asdict(job)
    for name in ("created", "started", "finished"):
        time = content[name]
        content[name] = None if time is None else time.isoformat() + "Z"
    return content
