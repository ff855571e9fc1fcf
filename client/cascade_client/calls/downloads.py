"""Downloads of a job's result files into a folder: which exist, and which are complete.

A file gets its name once it is complete and verified. Until then it is called
`NAME.DIGEST.partial`, directly in the target folder and not in a subfolder, and any process can
resume it from where it ends. The writer holds a lock on it: if several processes fetch one job into
one folder, one reads each file, and the others find it there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from cascade_client.errors import InvalidRequest, ServerError
from cascade_client.values.jobs import Job, JobState, ResultFile

try:
    import fcntl
except ImportError:  # Windows: there nobody is kept from fetching into one folder twice at once
    fcntl = None  # type: ignore[assignment]

PARTIAL = ".partial"
# Digits of a file's SHA-256 that distinguish it from others of its name.
DIGITS = 12
BLOCK = 1024 * 1024
# Seconds between two checks whether another process still writes a file, if blocking is impossible.
PAUSE = 0.05


class Download:
    """Download of one file into a folder, or into the subfolder that its name gives.

    >>> download = Download(job, file, folder)
    >>> if not download.is_there():
    ...     with download:
    ...         while not download.is_right():
    ...             while not download.is_whole: download.write(more_from(download.done))

    Entering it waits for another writer of the file, unless `begin` was called before.

    Attributes:
        path: the final path.
        file: the server's description of it.
        done: bytes received.

    Args:
        job: whose file it is.
        file: the server's description of it.
        folder: the target folder, which must exist.

    Raises:
        ServerError: its name leads out of the folder, or its digest is invalid.
    """

    def __init__(self, job: str, file: ResultFile, folder: Path) -> None:
        self.file, self.path, self.done = file, folder / checked_name(file), 0
        # Not by the last part of its name alone, which files of several folders may share.
        self._beside = file.name.replace("%", "%25").replace("/", "%2F")
        digest = checked_digest(file)[:DIGITS]
        self._job, self._partial = job, folder / f"{self._beside}.{digest}{PARTIAL}"
        self._out: BinaryIO | None = None
        self._is_right = self._was_begun = False

    def is_there(self) -> bool:
        """Return whether the file already exists with the right content.

        Raises:
            InvalidRequest: another file of that name exists.
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
        """Whether all of its bytes have been received."""
        return self.done >= self.file.bytes

    def is_right(self) -> bool:
        """Return whether all of its bytes have been received and are correct.

        An incorrect partial file that another process began is discarded and downloaded again.

        Raises:
            ServerError: the received bytes differ from the result.
        """
        if self._is_right or not self.is_whole:
            return self._is_right
        assert self._out is not None
        self._out.flush()
        if (came := _checksum(self._partial)) == self.file.sha256:
            self._is_right = True
            return True
        self._drop()
        if self._was_begun:
            self._was_begun = False
            return False
        raise ServerError(
            f"{self.file.name} of job {self._job} came with SHA-256 {came}, and was made with "
            f"{self.file.sha256}; what came is dropped"
        )

    def write(self, data: bytes) -> None:
        """Write the bytes that follow the first `done` bytes."""
        assert self._out is not None
        self._out.write(data)
        self.done += len(data)

    def begin(self, waits: bool = False) -> bool:
        """Resume the partial file; return False if another process is writing it.

        Args:
            waits: wait until no other process writes it.

        Raises:
            InvalidRequest: as `is_there`, if another process has created such a file meanwhile.
        """
        while True:
            out = self._partial.open("ab")
            try:
                if not _lock(out, waits):
                    out.close()
                    return False
                if self.is_there():
                    # Its writer has finished; the file just opened is a new, empty one.
                    out.close()
                    self._partial.unlink(missing_ok=True)
                    self.done, self._is_right = self.file.bytes, True
                    return True
                if not _is_at(out, self._partial):
                    out.close()
                    continue
            except BaseException:  # also KeyboardInterrupt: the open file would keep its lock
                out.close()
                raise
            self._out, self.done = out, os.fstat(out.fileno()).st_size
            self._was_begun = self.done > 0
            if self.done > self.file.bytes:
                self._drop()
            return True

    def __enter__(self) -> Download:
        if self._out is None and not self._is_right:
            self.begin(waits=True)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Close the file, and give it its name if there was no error.

        Raises:
            InvalidRequest: another file of that name has been created meanwhile.
            ServerError: the received bytes differ from the result.
        """
        if self._out is None:
            return
        with contextlib.ExitStack() as stack:
            stack.callback(self._close)
            if kind is not None:
                if not self.done and fcntl is not None:
                    self._partial.unlink(missing_ok=True)
                return
            if not self.is_right():
                raise ServerError(
                    f"{self.done:,} of {self.file.bytes:,} bytes of {self.file.name} of job "
                    f"{self._job} have come"
                )
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if fcntl is None:
                self._out.close()  # Windows gives no other name to a file that is open
            if self.is_there():
                self._partial.unlink()
            else:
                self._partial.rename(self.path)
            self._sweep()

    def _close(self) -> None:
        assert self._out is not None
        self._out.close()
        self._out = None

    def _drop(self) -> None:
        assert self._out is not None
        self._out.truncate(0)
        self.done = 0

    def _sweep(self) -> None:
        """Remove partial files of the same name with other contents, which can no longer be
        completed.

        Files that another process is writing are kept; that process will get an error that another
        file exists.
        """
        digest = rf"(\.[0-9a-f]{{{DIGITS}}})?"
        name = re.compile(re.escape(self._beside) + digest + re.escape(PARTIAL))
        for other in self._partial.parent.iterdir():
            if name.fullmatch(other.name):
                with contextlib.suppress(OSError), other.open("ab") as out:
                    if fcntl is not None and _lock(out, waits=False):
                        other.unlink()


def _lock(out: BinaryIO, waits: bool) -> bool:
    """Lock a file until it is closed; return whether that succeeded."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(out, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        # The file system has no locks; continue without, as on Windows.
        return True
    return True


def _is_at(out: BinaryIO, path: Path) -> bool:
    """Return whether an open file is still the one at the path.

    A previous owner may have removed or renamed it.
    """
    try:
        return os.path.samestat(os.fstat(out.fileno()), path.stat())
    except FileNotFoundError:
        return False


def checked_digest(file: ResultFile) -> str:
    """Return the SHA-256 of a file, part of which names its partial file.

    Raises:
        ServerError: it is invalid.
    """
    if not re.fullmatch("[0-9a-f]{64}", file.sha256):
        raise ServerError(
            f"the server says that the SHA-256 of {file.name} is {file.sha256!r}; 64 hexadecimal "
            "digits are one"
        )
    return file.sha256


def checked_name(file: ResultFile) -> str:
    """Return a file's path below a folder, which the server determines.

    Raises:
        ServerError: it is not a path below the folder.
    """
    parts = file.name.split("/")
    if not all(parts) or any(part in (".", "..") or "\\" in part or ":" in part for part in parts):
        raise ServerError(f"the server calls a file {file.name!r}, which is no name of one")
    return file.name


def whole_files(job: Job) -> Sequence[ResultFile]:
    """Return the files of a finished job.

    Raises:
        InvalidRequest: the job is not done.
    """
    if job.state is not JobState.DONE:
        why = f": {job.reason}" if job.reason else ""
        raise InvalidRequest(f"job {job.id} is {job.state}{why}; results of DONE jobs are whole")
    return job.result_files


def downloads(
    job: Job, folder: Path, progress: Callable[[int, int], object] | None
) -> Iterator[tuple[Download, Callable[[], object]]]:
    """Yield the downloads of a job's files in turn, each with a function to call whenever bytes
    arrive.
    """
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
