"""`cascade configure`: writes what Triton needs beside the releases of a model repository."""

from __future__ import annotations

from pathlib import Path

import click
from cascade_tables.errors import CascadeTablesError
from cascade_tables.releases.triton_files import TritonRuntime
from cascade_tables.releases.triton_files import configure as write

RUNTIMES = click.Choice([each.value for each in TritonRuntime])


@click.command()
@click.argument(
    "repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("model_repository"),
)
@click.option(
    "--runtime",
    type=RUNTIMES,
    default=TritonRuntime.PYTHON.value,
    show_default=True,
    help="What runs the student in Triton.",
)
@click.option("--table", help="Only this table; all where not given.")
@click.option(
    "--priorities",
    is_flag=True,
    help="Have Triton queue requests by priority, refuse late ones there, and bound the queue; "
    "docs/triton.md says what that costs.",
)
def configure(repository: Path, runtime: str, table: str | None, priorities: bool) -> None:
    """Write Triton's files into a model REPOSITORY, model_repository by default.

    A config.pbtxt for each model of a table's latest release, and a model.py for those that Triton
    runs in Python. `cascade release` has written them already: this is for releases from before,
    for another runtime, or for priorities. What was edited by hand is overwritten.

    \b
    Example:
      cascade configure
      cascade configure /srv/models --runtime onnxruntime --table payments
    """
    try:
        written = write(repository, TritonRuntime(runtime), table, priorities)
    except CascadeTablesError as exc:
        raise click.ClickException(str(exc)) from exc
    if not written:
        raise click.ClickException(f"{repository} holds no release; `cascade release` writes one")
    for name, version in written.items():
        click.echo(f"configured {name} version {version} for Triton, its student by {runtime}")
