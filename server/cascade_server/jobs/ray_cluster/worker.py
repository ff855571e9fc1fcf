"""What a worker of a Ray cluster does: it draws some rows of a job from a release that it is sent.

A worker's process is asked again and again, so that it keeps the release that it was asked for
last. It has no ledger, no schema file and no row of the table, but for rows that a caller sent to
be completed.
"""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
import threading
from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path
from typing import ClassVar

from cascade_jobs.errors import Cause, JobFailed
from cascade_jobs.shards import Shard
from cascade_jobs.specification import Specification
from cascade_tables import CascadeTablesError, Frame

from cascade_server.jobs.drawing import ReleaseDrawing
from cascade_server.jobs.ray_cluster.package import ReleasePackage


def installed() -> str:
    """The version of Cascade that is installed here."""
    return version_of("cascade-synthesis")


@dataclass(frozen=True)
class Slab:
    """Some rows of a job, small enough to be sent back at once.

    Attributes:
        specification: of the job, as JSON.
        first: the first of its rows; rows: how many.
        threads: of one pass of the teacher.
        installed: the version of Cascade that asks.
    """

    specification: str
    first: int
    rows: int
    threads: int
    installed: str


class _Kept:
    """The release that this process was asked for last, unpacked and loaded."""

    current: ClassVar[_Kept | None] = None

    def __init__(self, package: ReleasePackage, threads: int) -> None:
        self.key = package.digest, threads
        self.folder = Path(tempfile.mkdtemp(prefix="cascade-release-"))
        try:
            package.unpack(self.folder)
        except (CascadeTablesError, OSError):
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="teacher", daemon=True)
        self._thread.start()
        self.drawing = ReleaseDrawing(self.folder, self._loop, None, threads)

    def drop(self) -> None:
        """Let go of it; its folder goes too."""
        self.drawing.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    def of(cls, package: ReleasePackage, threads: int) -> _Kept:
        """The one of a release, made if need be."""
        if cls.current is None or cls.current.key != (package.digest, threads):
            cls.forget()
            cls.current = cls(package, threads)
        return cls.current

    @classmethod
    def forget(cls) -> None:
        """Drop the one that is kept."""
        if cls.current is not None:
            cls.current.drop()
            cls.current = None


atexit.register(_Kept.forget)


def draw_slab(package: ReleasePackage, conditions: bytes, slab: Slab) -> Frame:
    """Some rows of a job: the same whoever draws them, and however often.

    Args:
        package: the job's release.
        conditions: the rows to complete, as they were sent; empty: there are none.
        slab: which rows.

    Raises:
        JobFailed: they cannot be drawn here, now or later; says why.
    """
    if slab.installed != installed():
        raise JobFailed(
            f"a worker of Ray has version {installed()} of cascade-synthesis, the server "
            f"{slab.installed}; install the server's there",
            Cause.PACKAGE,
        )
    try:
        kept = _Kept.of(package, slab.threads)
    except CascadeTablesError as exc:
        why = f"a worker of Ray cannot load the release: {exc}"
        raise JobFailed(why, Cause.RELEASE) from exc
    specification = Specification.from_json(slab.specification)
    (rows,) = kept.drawing.rows(specification, conditions, Shard(0, slab.first, slab.rows))
    return rows
