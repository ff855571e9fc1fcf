"""Stores for results of jobs: a folder of this machine, or anything that fsspec opens by a URL.

A file is first written whole under a temporary name, beside its final place or, for URLs, in a
spool folder of this machine; then it is renamed or uploaded. So a listing of the output shows whole
files only, except names that begin with a dot, and its subfolders show nothing else.
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
# Bytes of one read from a store that is not on this machine.
READ_BYTES = 256 * 1024


class Store(Protocol):
    """The output of one job.

    Attributes:
        where: its name in messages.
        is_quick: whether `publish` is as fast as a rename.
    """

    where: str
    is_quick: bool

    def temporary(self, name: str, fence: int) -> Path:
        """The path at which a file is to be written, before it is published.

        Args:
            name: the file's name in the output.
            fence: number of the lease, so that an executor that has lost it writes elsewhere.

        Raises:
            OSError: its folder cannot be made.
        """

    def publish(self, made: Path, name: str) -> None:
        """Move a whole file to its name in the output, replacing one that has it.

        Raises:
            OSError: that is not possible now.
        """

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Read up to `size` bytes of a file; fewer at its end.

        Raises:
            OSError: there is no such file, or it cannot be read.
        """

    def has(self, name: str) -> bool:
        """Whether there is such a file."""

    def sizes(self, names: Collection[str]) -> dict[str, int]:
        """Sizes in bytes of the named files, by name; files that do not exist are left out.

        Raises:
            OSError: the output cannot be listed.
        """

    def is_empty(self) -> bool:
        """Whether there are no files at all in the output or its subfolders.

        Raises:
            OSError: it cannot be listed.
        """

    def remove(self, names: Collection[str], whole: bool) -> None:
        """Remove the named files, finished or not.

        Args:
            names: the files; those that do not exist are passed over.
            whole: whether to remove the output's folder too, if it is empty then.

        Raises:
            OSError: one cannot be removed.
        """

    def sweep(self, names: Collection[str]) -> None:
        """Remove unfinished files that killed processes have left; raises as `remove`."""


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
        for subfolder in {(self._folder / name).parent for name in names} - {self._folder}:
            with contextlib.suppress(OSError):  # it does not exist, or has other files in it
                subfolder.rmdir()
        if whole:
            with contextlib.suppress(FileNotFoundError):
                self._folder.rmdir()

    def sweep(self, names: Collection[str]) -> None:
        bases = set(map(_base, names))
        for each in list(self._folder.iterdir()):
            if _is_left_of(each.name, bases):
                each.unlink(missing_ok=True)


class RemoteStore:
    """A folder that fsspec opens by a URL, such as `s3://bucket/folder`.

    Args:
        url: of the folder.
        spool: a folder of this machine, for files that are being written.
        filesystem: fsspec's file system and its path of the folder; None: as the URL says.

    Raises:
        JobFailed: fsspec does not know such URLs, or needs a package for them.
        OSError: the store cannot be reached, or does not let this server in.
    """

    is_quick = False

    def __init__(self, url: str, spool: Path, filesystem: tuple[Any, str] | None = None) -> None:
        self._spool, self.where = spool, url.rstrip("/")
        try:
            if filesystem is None:
                import fsspec

                # Some file systems connect at once.
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
        upload = f"{self._folder}/.{made.name}"
        with _as_errors_of_the_system():
            self._make_folder(f"{self._folder}/{name}".rpartition("/")[0])
            self._files.put_file(str(made), upload)
            self._files.mv(upload, f"{self._folder}/{name}")
        made.unlink(missing_ok=True)

    def _make_folder(self, folder: str) -> None:
        """Make a folder and its parents, but no bucket: a misspelt bucket is to be an error."""
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
            # Some file systems cache listings, and other processes write there too.
            self._files.invalidate_cache()
            for subfolder in {name.rpartition("/")[0] for name in names}:
                folder = f"{self._folder}/{subfolder}".rstrip("/")
                with contextlib.suppress(FileNotFoundError):
                    for each in self._files.ls(folder, detail=True):
                        if each.get("size") is not None:
                            name = _base(each["name"])
                            found[f"{subfolder}/{name}" if subfolder else name] = int(each["size"])
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
                        # Some file systems list the folder itself as one of its entries.
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
    """Turn the errors of fsspec's packages into OSError, on which a job is retried.

    Each package has errors of its own, which mostly come from the network or the service behind it
    and may pass. OSError, ImportError and those in `lasting` are raised as they are.
    """
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
    """Whether a name is that of an unfinished file of one of these, given without folders."""
    made_of = name.removeprefix(".").removesuffix(TEMPORARY).rpartition(".")[0]
    return name.startswith(".") and name.endswith(TEMPORARY) and made_of in bases


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, after a file in it was renamed."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def is_url(output: str) -> bool:
    """Whether an output is a URL, and not a folder of this machine."""
    return "://" in output


def store_of(output: str, spool: Path) -> Store:
    """Open the store of a job's results.

    Args:
        output: a folder or URL.
        spool: the job's own folder for files that are on their way to a URL.

    Raises:
        JobFailed: it can never be written, being malformed or of an unknown kind.
        OSError: it cannot be opened now.
    """
    return RemoteStore(output, spool) if is_url(output) else LocalStore(Path(output))
