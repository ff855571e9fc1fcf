"""A Triton that runs the networks of a front end is killed, and comes back."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cascade_loadtest.errors import LoadFailed
from cascade_tables import list_releases, load_release
from cascade_tables.releases.triton_files import TritonRuntime, write_files

from benchmarks.load.faults.processes import Injected
from benchmarks.load.faults.stage import staged
from benchmarks.load.faults.steady import SteadyConfig
from benchmarks.peers.environments import NotInstalled
from benchmarks.peers.triton_server import TritonFailed, triton

if TYPE_CHECKING:
    from benchmarks.load.faults.__main__ import Run

AWAY_SECONDS = 2.0


def kill_triton(run: Run, table: str, repository: Path, words: str) -> None:
    """kill -9 of one of two Tritons behind the front end; it comes back after 2 s.

    Raises:
        LoadFailed: there is no Triton here.
    """
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
        folder = Path(scratch) / "model_repository"
        shutil.copytree(repository, folder)
        for version in list_releases(folder)[table]:
            write_files(folder, load_release(folder, table, version), TritonRuntime.PYTHON)
        models = (f"{table}_student", f"{table}_teacher")
        try:
            with triton(folder, models=models) as first, triton(folder, models=models) as second:
                servers = ",".join(each.target for each in (first, second))
                given = ("--workers", "2", "--runtime", f"triton://{servers}")
                with staged(repository, None, *given, "--serve", f"{table}=latest") as stage:

                    def act() -> Injected:
                        done = Injected()
                        first.kill()
                        time.sleep(AWAY_SECONDS)
                        first.start()
                        return done

                    run.beneath_load("triton-killed", stage, act, words, SteadyConfig())
        except (NotInstalled, TritonFailed) as exc:
            raise LoadFailed(str(exc)) from exc
