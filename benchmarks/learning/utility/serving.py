"""A server with a release of a problem's table: the bundled one, or one that is learnt here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cascade_client import Client
from cascade_distill.releasing import release_run
from cascade_distill.runs.run import Run
from cascade_loadtest.servers import default_server, serving
from cascade_tables import list_releases

from benchmarks.learning.fidelity import learn
from benchmarks.learning.utility.problems import Problem
from benchmarks.tables import BUNDLED

START_SECONDS = 120.0


def repository(
    problem: Problem,
    bundled: Path,
    runs: Path,
    threads: int,
    steps: int | None = None,
    rows: int | None = None,
) -> Path:
    """A model repository that has the table; learnt in `runs` where none has.

    What a table that is split by time was learnt from is no random part of it, so such a run is no
    other benchmark's: `runs` has to be a folder of its own.
    """
    name = problem.table.name
    if name in BUNDLED and name in list_releases(bundled):
        return bundled
    made = runs / "model_repository"
    if not (made.is_dir() and name in list_releases(made)):
        learn(problem.table, "student", runs, threads, steps, rows)
        # Of what was not evaluated, nothing is known; a benchmark gives no rows to anybody.
        release_run(Run(runs / name), made, name, accept_memorisation=True)
    return made


@contextmanager
def asked(folder: Path) -> Iterator[Client]:
    """A client of the default server, which ends with the block."""
    with serving(default_server(folder)) as server, Client(server.target) as client:
        client.wait_ready(START_SECONDS)
        yield client
