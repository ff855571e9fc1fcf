"""Where results go: a folder of this machine, or what fsspec knows by a URL.

A file is made in full in the output, or in a spool on this machine where that is a URL, and is
given its name when it is whole. A name may be that of a file in a folder of the output: what is
made for it is not in that folder. So whoever lists an output finds whole files only, but for names
that begin with a dot, and in its folders nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Protocol

from cascade_jobs.errors import Cause, JobFailed

TEMPORARY = ".tmp"
# Of a read from what is not on this machine.
READ_BYTES = 256 * 1024


class Store(Protocol):
    """One job's output.

    Attributes:
        where: what a message calls it.
        is_quick: whether `publish` takes no longer than a rename.
    """

    where: str
    is_quick: bool

    def temporary(self, name: str, fence: int) -> Path:
        """Where on this machine a file is made, under this lease.

        Raises:
            OSError: there can be none.
        """

    def publish(self, made: Path, name: str) -> None:
        """Give a file that is whole its name; one that has it is replaced.

        Raises:
            OSError: it cannot be.
        """

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Some bytes of a file; fewer where it ends.

        Raises:
            OSError: there is no such file, or it cannot be read.
        """

    def has(self, name: str) -> bool:
        """Whether there is such a file."""

    def sizes(self, names: Collection[str]) -> dict[str, int]:
        """Bytes of those of these files that are there, by name.

        Raises:
            OSError: it cannot be looked at.
        """

    def is_empty(self) -> bool:
        """Whether there is no file in the output or below it, whosever.

        Raises:
            OSError: it cannot be looked at.
        """

    def remove(self, names: Collection[str], whole: bool) -> None:
        """Remove files that are there, what was made of others, and, where `whole`, the folder if
        it is empty then.

        Raises:
            OSError: one cannot be.
        """

    def sweep(self, names: Collection[str]) -> None:
        """Remove what processes that were killed have left of files; raises as `remove`."""


class LocalStore:
    """A folder of this machine."""

    is_quick = True

    def __init__(self, folder: Path) -> None:
        self._folder, self.where = folder, str(folder)

    def temporary(self, name: str, fence: int) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / f".{_base(name)}.{fence}{TEMPORARY}"

    def publish(self, made: Path, name: str) -> None:
        path = self._folder / name
        if not path.parent.exists():
            path.parent.mkdir(exist_ok=True)
            _sync_folder(self._folder)
        made.replace(path)
        _sync_folder(path.parent)

    def read(self, name: str, offset: int, size: int) -> bytes:
        with (self._folder / name).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def has(self, name: str) -> bool:
        return (self._folder / name).is_file()

    def sizes(self, names: Collection[str]) -> dict[str, int]:
        found = {}
        for name in names:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found[name] = (self._folder / name).stat().st_size
        return found

    def is_empty(self) -> bool:
        return not any(files for _, _, files in os.walk(self._folder, onerror=_raise_if_there))

    def remove(self, names: Collection[str], whole: bool) -> None:
        if not self._folder.is_dir():
            return
        self.sweep(names)
        for name in names:
            (self._folder / name).unlink(missing_ok=True)
        for below in {(self._folder / name).parent for name in names} - {self._folder}:
            with contextlib.suppress(OSError):  # it is not there, or has what is no job's
                below.rmdir()
        if whole:
            with contextlib.suppress(FileNotFoundError):
                self._folder.rmdir()

    def sweep(self, names: Collection[str]) -> None:
        bases = set(map(_base, names))
        for each in list(self._folder.iterdir()):
            if _is_left_of(each.name, bases):
                each.unlink(missing_ok=True)


class RemoteStore:
    """What fsspec knows by a URL, such as `s3://bucket/folder`.

    Args:
        url: of a folder.
        spool: a folder of this machine, for files that are being made.
        filesystem: of fsspec, and its name for the folder; None: as the URL says.

    Raises:
        JobFailed: fsspec does not know such URLs, or needs a package for them.
        OSError: who is behind it is away, or does not let this server in.
    """

    is_quick = False

    def __init__(self, url: str, spool: Path, filesystem: tuple[Any, str] | None = None) -> None:
        self._spool, self.where = spool, url.rstrip("/")
        try:
            if filesystem is None:
                import fsspec

                # Some connect at once.
                with _as_errors_of_the_system(ValueError):
                    filesystem = fsspec.core.url_to_fs(self.where)
        except (ImportError, ValueError) as exc:
            why = f"{self.where} cannot be written: {exc}"
            cause = Cause.PACKAGE if isinstance(exc, ImportError) else Cause.OUTPUT
            raise JobFailed(why, cause) from exc
        self._files, self._folder = filesystem[0], str(filesystem[1]).rstrip("/")

    def temporary(self, name: str, fence: int) -> Path:
        self._spool.mkdir(parents=True, exist_ok=True)
        return self._spool / f"{_base(name)}.{fence}{TEMPORARY}"

    def publish(self, made: Path, name: str) -> None:
        beside = f"{self._folder}/.{made.name}"
        with _as_errors_of_the_system():
            self._make_folder(f"{self._folder}/{name}".rpartition("/")[0])
            self._files.put_file(str(made), beside)
            self._files.mv(beside, f"{self._folder}/{name}")
        made.unlink(missing_ok=True)

    def _make_folder(self, folder: str) -> None:
        """Make a folder where a store has such, but no bucket: a name that is misspelt is to be
        an error."""
        parts = folder.split("/")
        for length in range(2, len(parts) + 1):
            path = "/".join(parts[:length])
            if not self._files.exists(path):
                with contextlib.suppress(FileExistsError):
                    self._files.mkdir(path, create_parents=False)

    def read(self, name: str, offset: int, size: int) -> bytes:
        with _as_errors_of_the_system():
            path = f"{self._folder}/{name}"
            found: bytes = self._files.cat_file(path, start=offset, end=offset + size)
            return found

    def has(self, name: str) -> bool:
        with _as_errors_of_the_system():
            return bool(self._files.isfile(f"{self._folder}/{name}"))

    def sizes(self, names: Collection[str]) -> dict[str, int]:
        found = {}
        with _as_errors_of_the_system():
            # Others write there, and some of fsspec's packages remember what they have listed.
            self._files.invalidate_cache()
            for below in {name.rpartition("/")[0] for name in names}:
                folder = f"{self._folder}/{below}".rstrip("/")
                with contextlib.suppress(FileNotFoundError):
                    for each in self._files.ls(folder, detail=True):
                        if each.get("size") is not None:
                            name = _base(each["name"])
                            found[f"{below}/{name}" if below else name] = int(each["size"])
        return found

    def is_empty(self) -> bool:
        with _as_errors_of_the_system():
            self._files.invalidate_cache()
            # Not fsspec's own `walk`, which passes over folders that it cannot list.
            folders = [self._folder]
            while folders:
                folder = folders.pop()
                with contextlib.suppress(FileNotFoundError):
                    for each in self._files.ls(folder, detail=True):
                        if each["type"] != "directory":
                            return False
                        # Some name the folder itself among what is in it.
                        if (name := str(each["name"]).rstrip("/")) != folder:
                            folders.append(name)
        return True

    def remove(self, names: Collection[str], whole: bool) -> None:
        with _as_errors_of_the_system():
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    self._files.rm_file(f"{self._folder}/{name}")
        self.sweep(names)

    def sweep(self, names: Collection[str]) -> None:
        shutil.rmtree(self._spool, ignore_errors=True)
        bases = set(map(_base, names))
        with _as_errors_of_the_system(), contextlib.suppress(FileNotFoundError):
            for path in self._files.ls(self._folder, detail=False):
                if _is_left_of(_base(path), bases):
                    self._files.rm_file(path)


@contextlib.contextmanager
def _as_errors_of_the_system(*lasting: type[Exception]) -> Iterator[None]:
    """Each of fsspec's packages has errors of its own; those that are none of the system's are of
    a network or of who is behind it, and may pass. Others are raised as they are."""
    try:
        yield
    except Exception as exc:
        if isinstance(exc, (OSError, ImportError, *lasting)):
            raise
        raise OSError(errno.EREMOTEIO, f"{type(exc).__name__}: {exc}") from exc


def _raise_if_there(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _is_left_of(name: str, bases: Collection[str]) -> bool:
    """Whether a file is what was being made of one of these, named without their folders."""
    made_of = name.removeprefix(".").removesuffix(TEMPORARY).rpartition(".")[0]
    return name.startswith(".") and name.endswith(TEMPORARY) and made_of in bases


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _sync_folder(folder: Path) -> None:
    """A new name is on the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def is_url(output: str) -> bool:
    """Whether an output is not simply a folder of this machine."""
    return "://" in output


def store_of(output: str, spool: Path) -> Store:
    """Where a job's results go.

    Args:
        output: a folder or URL.
        spool: where files for URLs are made; the job's own.

    Raises:
        JobFailed: it is no output that can be written.
        OSError: it cannot be opened now.
    """
    return RemoteStore(output, spool) if is_url(output) else LocalStore(Path(output))
