"""Tables given to a command: local files, and copies of what URLs name."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import click
from cascade_tables import CascadeTablesError
from cascade_tables.connectors.locations import Location, is_url, location_of
from cascade_tables.connectors.sources import fetch_source

from cascade_distill.errors import DiskFull

Given: TypeAlias = Path | Location

# Folder in a run folder for copied tables while they are needed.
COPIED = "sources"
COPIED_IN = "cascade_distill.given_tables.folder"
COPIED_TIMES = "cascade_distill.given_tables.times"


class Readable(click.Path):
    """Command-line type: a file to read, "-" for standard input, or a URL; see
    `connectors.locations`.
    """

    name = "file or URL"

    def __init__(self, allow_dash: bool = True) -> None:
        super().__init__(exists=True, allow_dash=allow_dash, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the file's path or the URL's location; refuse a URL with a password."""
        if isinstance(value, Location):
            return value
        try:
            if is_url(str(value)):
                return location_of(str(value))
            path = Path(str(super().convert(value, param, ctx)))
            if (path / "_delta_log").is_dir():
                return location_of(f"delta://{path.absolute()}")
        except CascadeTablesError as exc:
            raise click.ClickException(str(exc)) from exc
        return path


def name_of(table: Given) -> str:
    """Return a table's default name: its name in its database, or its file's name up to the first
    dot.
    """
    if isinstance(table, Location):
        return table.name
    return "stdin" if str(table) == "-" else table.name.removesuffix(".gz").rsplit(".", 1)[0]


def fetched(tables: Sequence[Given], folder: Path | None) -> list[Path]:
    """Return the files of tables; copies what URLs name, and removes the copies when the command
    ends.

    Args:
        tables: as they were given.
        folder: of the run, which has room for a table; None: use the temporary folder.

    Raises:
        DataError: a table cannot be read; says what to do, and shows no password.
        DiskFull: there is no room for it.
    """
    paths: list[Path] = []
    for table in tables:
        if not isinstance(table, Location):
            paths.append(table)
            continue
        made = _folder(folder)
        try:
            paths += fetch_source(table, made)
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            size = sum(each.stat().st_size for each in made.rglob("*") if each.is_file())
            raise DiskFull(made, size) from exc
    return paths


def _folder(run: Path | None) -> Path:
    """Create the folder for this command's copies.

    It is removed when the command ends; leftovers of a killed command are removed now.
    """
    context = click.get_current_context()
    made: Path | None = context.meta.get(COPIED_IN)
    if made is None:
        made = Path(tempfile.mkdtemp(prefix="cascade-")) if run is None else run / COPIED
        shutil.rmtree(made, ignore_errors=True)
        context.meta[COPIED_IN] = made
        context.call_on_close(lambda: shutil.rmtree(made, ignore_errors=True))
    # Each option's tables have their own folder.
    context.meta[COPIED_TIMES] = context.meta.get(COPIED_TIMES, 0) + 1
    return made / str(context.meta[COPIED_TIMES])
