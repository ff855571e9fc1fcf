"""The `cascade` program: one command line whose commands live in the packages that do the work.

Commands are found through the entry-point group ``cascade.commands`` and imported only when they
are run, so that ``cascade ask`` starts without torch and ``cascade serve`` without pandas.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points, version

import click

GROUP = "cascade.commands"

# In the order a user meets them, with the line that `cascade --help` prints.
SUMMARIES = {
    "fit": "Learn a teacher from a table (CSV or Parquet).",
    "distill": "Distil a student from a teacher.",
    "evaluate": "Measure how close synthetic rows are to real ones.",
    "release": "Write teacher and student into a model repository.",
    "configure": "Write Triton's files into a model repository.",
    "compile": "Compile a release for this machine's GPU, with TensorRT.",
    "serve": "Serve a model repository over gRPC.",
    "ask": "Ask a server for rows, some of whose columns are known.",
    "jobs": "Have many rows made in the background, as Parquet files.",
    "access": "Make API keys, and check who may ask a server.",
    "audit": "Show and verify what was decided about jobs.",
    "releases": "List, load, unload, try and promote a server's releases.",
    "health": "Say whether a server can answer, also by the exit status.",
    "sla": "Show how a server keeps its service level objectives.",
    "cost": "Show what a server's answers have cost.",
    "size": "Say how many cores a load takes.",
    "slo": "Write Prometheus rules for service level objectives.",
}

# The extra that brings what a package's commands import.
EXTRAS = {"cascade_distill": "distill", "cascade_server": "server"}


class CommandNotInstalled(click.ClickException):
    """A command whose extra is not installed; says which to install."""

    def __init__(self, command: str, module: str, missing: str | None) -> None:
        extra = EXTRAS.get(module.partition(".")[0])
        wanted = f"cascade-synthesis[{extra}]" if extra else "cascade-synthesis"
        super().__init__(
            f"`cascade {command}` needs the Python package {missing!r}, which is not installed; "
            f"run: pip install '{wanted}'"
        )


@contextmanager
def uncollected() -> Iterator[None]:
    """Importing makes very many objects and hardly any garbage. Collections in the midst of it find
    next to nothing, and are a sixth of the time in which `cascade serve` begins."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class LazyCommands(click.Group):
    """A click group that imports a command's module when the command is run, not before."""

    def _entry_points(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=GROUP)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        found = self._entry_points()
        return [n for n in SUMMARIES if n in found] + sorted(found.keys() - SUMMARIES.keys())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._entry_points().get(cmd_name)
        if entry is None:
            if ctx.resilient_parsing:  # a shell asks for completions
                return None
            known = self.list_commands(ctx)
            close = get_close_matches(cmd_name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"no command {cmd_name!r}; the commands are: {', '.join(known)}.{hint}")
        try:
            with uncollected():
                command = entry.load()
        except ModuleNotFoundError as exc:
            raise CommandNotInstalled(cmd_name, entry.module, exc.name) from exc
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # click's own would import every command only to print its first line.
        rows = [(name, SUMMARIES.get(name, "")) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("cascade-synthesis"), prog_name="cascade")
def main() -> None:
    """Cascade: plausible values for missing features, in real time; synthetic rows, offline.

    \b
    cascade fit payments.parquet --out runs/payments     learn a teacher
    cascade distill runs/payments                        distil a student
    cascade release runs/payments --table payments       write a release
    cascade serve                                        serve model_repository/
    cascade ask payments --given amount=12.5 --draws 5   ask for rows
    """
