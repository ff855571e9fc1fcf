"""Files of a job's results on their way into a folder: what is there, and what is whole.

A file has its name once it is whole and is what was made; until then it is named after what it is
to be, `NAME.DIGEST.partial`, beside what is whole and in none of its folders, and is gone on with
from where it ends, also by another process. Whoever writes it holds a lock on it: of several who
fetch one job into one folder one reads each file, and the others find it there.
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
# Digits of a file's SHA-256 that tell it from others of its name.
DIGITS = 12
BLOCK = 1024 * 1024
# Seconds between two looks whether another still writes a file, where nothing may wait for a lock.
PAUSE = 0.05


class Download:
    """One file on its way into a folder, or into a folder of that, as its name says.

    >>> download = Download(job, file, folder)
    >>> if not download.is_there():
    ...     with download:
    ...         while not download.is_right():
    ...             while not download.is_whole: download.write(more_from(download.done))

    Entering it waits for whoever writes the file already, unless it was begun before.

    Attributes:
        path: where it will be.
        file: as the server describes it.
        done: its bytes that have come.

    Args:
        job: whose file it is.
        file: as the server describes it.
        folder: where to; it is there.

    Raises:
        ServerError: its name leads out of the folder, or its digest is none.
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

    def is_right(self) -> bool:
        """Whether all of its bytes have come, and are what was made.

        What others have begun, and is not, is dropped, and is to come once more from the beginning.

        Raises:
            ServerError: what came is not what was made.
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
        """Take what comes after `done` bytes."""
        assert self._out is not None
        self._out.write(data)
        self.done += len(data)

    def begin(self, waits: bool = False) -> bool:
        """Go on with what is there of it; whether it may be written: else another writes it now.

        Args:
            waits: until nobody else does.

        Raises:
            InvalidRequest: as `is_there`, which others may have brought about meanwhile.
        """
        while True:
            out = self._partial.open("ab")
            try:
                if not _lock(out, waits):
                    out.close()
                    return False
                if self.is_there():
                    # Whoever wrote it has ended; what was opened just now has nothing in it.
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
        """Close the file, and give it its name where nothing went wrong.

        Raises:
            InvalidRequest: another file of its name has come there meanwhile.
            ServerError: what came is not what was made.
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
        """Remove what has come of other contents of the file's name, which can no longer be there.

        But for what is being written: whoever does will be told that another file is there.
        """
        digest = rf"(\.[0-9a-f]{{{DIGITS}}})?"
        name = re.compile(re.escape(self._beside) + digest + re.escape(PARTIAL))
        for other in self._partial.parent.iterdir():
            if name.fullmatch(other.name):
                with contextlib.suppress(OSError), other.open("ab") as out:
                    if fcntl is not None and _lock(out, waits=False):
                        other.unlink()


def _lock(out: BinaryIO, waits: bool) -> bool:
    """Keep a file to oneself, until it is closed; whether it is so."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(out, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks; there one does without, as on Windows.
        return True
    return True


def _is_at(out: BinaryIO, path: Path) -> bool:
    """Whether an open file is the one that is there: whoever had it before may have removed it, or
    given it another name."""
    try:
        return os.path.samestat(os.fstat(out.fileno()), path.stat())
    except FileNotFoundError:
        return False


def checked_digest(file: ResultFile) -> str:
    """The SHA-256 of a file, a part of which names what has come of it.

    Raises:
        ServerError: it is none.
    """
    if not re.fullmatch("[0-9a-f]{64}", file.sha256):
        raise ServerError(
            f"the server says that the SHA-256 of {file.name} is {file.sha256!r}; 64 hexadecimal "
            "digits are one"
        )
    return file.sha256


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
