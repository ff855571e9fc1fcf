"""Files of a job's results on their way into a folder: what is there, and what is whole.

A file has its name once it is whole and is what was made; until then it is named `.partial`, beside
what is whole and in none of its folders, and is gone on with from where it ends, also by another
process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from cascade_client.errors import InvalidRequest, ServerError
from cascade_client.values.jobs import Job, JobState, ResultFile

PARTIAL = ".partial"
BLOCK = 1024 * 1024


class Download:
    """One file on its way into a folder, or into a folder of that, as its name says.

    >>> download = Download(job, file, folder)
    >>> if not download.is_there():
    ...     with download:
    ...         while not download.is_whole: download.write(more_from(download.done))

    Attributes:
        path: where it will be.
        file: as the server describes it.
        done: its bytes that have come.

    Args:
        job: whose file it is.
        file: as the server describes it.
        folder: where to; it is there.

    Raises:
        ServerError: its name leads out of the folder.
    """

    def __init__(self, job: str, file: ResultFile, folder: Path) -> None:
        self.file, self.path, self.done = file, folder / checked_name(file), 0
        # Not by the last part of its name alone, which files of several folders may share.
        beside = file.name.replace("%", "%25").replace("/", "%2F")
        self._job, self._partial = job, folder / (beside + PARTIAL)
        self._out: BinaryIO | None = None

    def is_there(self) -> bool:
        """Whether the file is there already, and is what was made.

        Raises:
            InvalidRequest: another file of that name is there.
        """
        if not self.path.exists():
            return False
        if _checksum(self.path) != self.file.sha256:
            raise InvalidRequest(
                f"{self.path} is there, and is not the file of job {self._job}; name another folder"
            )
        return True

    @property
    def is_whole(self) -> bool:
        """Whether all of its bytes have come."""
        return self.done >= self.file.bytes

    def write(self, data: bytes) -> None:
        """Take what comes after `done` bytes."""
        assert self._out is not None
        self._out.write(data)
        self.done += len(data)

    def __enter__(self) -> Download:
        begun = self._partial.stat().st_size if self._partial.exists() else 0
        if begun > self.file.bytes:
            self._partial.unlink()
            begun = 0
        self._out, self.done = self._partial.open("ab"), begun
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Close the file, and give it its name where nothing went wrong.

        Raises:
            ServerError: what came is not what was made.
        """
        assert self._out is not None
        self._out.close()
        if kind is not None:
            return
        if (came := _checksum(self._partial)) != self.file.sha256:
            self._partial.unlink()
            raise ServerError(
                f"{self.file.name} of job {self._job} came with SHA-256 {came}, and was made with "
                f"{self.file.sha256}; what came is dropped"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._partial.rename(self.path)


def checked_name(file: ResultFile) -> str:
    """Where a file is to be below a folder; it is the server that says so.

    Raises:
        ServerError: there is no such place below it.
    """
    parts = file.name.split("/")
    if not all(parts) or any(part in (".", "..") or "\\" in part or ":" in part for part in parts):
        raise ServerError(f"the server calls a file {file.name!r}, which is no name of one")
    return file.name


def whole_files(job: Job) -> Sequence[ResultFile]:
    """The files of a job that is done.

    Raises:
        InvalidRequest: it is not.
    """
    if job.state is not JobState.DONE:
        why = f": {job.reason}" if job.reason else ""
        raise InvalidRequest(f"job {job.id} is {job.state}{why}; results of DONE jobs are whole")
    return job.result_files


def downloads(
    job: Job, folder: Path, progress: Callable[[int, int], object] | None
) -> Iterator[tuple[Download, Callable[[], object]]]:
    """The files of a job on their way into a folder, one after another, and for each what to call
    whenever some of it has come."""
    total, before = sum(each.bytes for each in whole_files(job)), 0
    folder.mkdir(parents=True, exist_ok=True)
    for each in job.result_files:
        download = Download(job.id, each, folder)

        def report(download: Download = download, before: int = before) -> None:
            if progress is not None:
                progress(before + download.done, total)

        yield download, report
        before += each.bytes
        if progress is not None:
            progress(before, total)


def _checksum(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()
