"""The work of a Ray cluster's worker: to draw some rows of a job from a release that it is sent.

A worker's process gets several requests, so it keeps the release of the last one. It has no ledger,
no schema file and no rows of the table, except rows that a caller sent to be completed.
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
    """Return the version of Cascade that is installed here."""
    return version_of("cascade-synthesis")


@dataclass(frozen=True)
class Slab:
    """Some rows of a job, few enough to be sent back at once.

    Attributes:
        specification: the job's specification, as JSON.
        first: the first of its rows; rows: how many.
        threads: threads of one pass of the teacher.
        installed: the requesting server's version of Cascade.
    """

    specification: str
    first: int
    rows: int
    threads: int
    installed: str


class _Kept:
    """The release that this process was last asked for, unpacked and loaded."""

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
        """Drop the release and its folder."""
        self.drawing.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    def of(cls, package: ReleasePackage, threads: int) -> _Kept:
        """Return the loaded release, loading it if necessary."""
        if cls.current is None or cls.current.key != (package.digest, threads):
            cls.forget()
            cls.current = cls(package, threads)
        return cls.current

    @classmethod
    def forget(cls) -> None:
        """Drop the release that is kept."""
        if cls.current is not None:
            cls.current.drop()
            cls.current = None


atexit.register(_Kept.forget)


def draw_slab(package: ReleasePackage, conditions: bytes, slab: Slab) -> Frame:
    """Draw some rows of a job: the same whichever worker draws them, and however often.

    Args:
        package: the job's release.
        conditions: the rows to complete, as they were sent; empty if there are none.
        slab: which rows.

    Raises:
        JobFailed: they can never be drawn here; says why.
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
