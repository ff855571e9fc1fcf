"""Files behind URLs, by fsspec: copied here to be read, and written under another name first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cascade_tables.connectors.failures import Unreachable, lacks
from cascade_tables.connectors.locations import Location, full_url, redacted
from cascade_tables.errors import DataError

# Bytes that are compared at once.
BLOCK = 2**20
# What fsspec's messages say is lacking, as pip knows it.
PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "az": "adlfs",
}


def opened(location: Location) -> tuple[Any, str]:
    """The file system of a URL, and what it calls the path.

    Raises:
        DataError: fsspec does not know such URLs, or needs a package for them.
    """
    try:
        import fsspec
    except ImportError as exc:
        raise lacks("fsspec", "remote", location) from exc
    try:
        files, path = fsspec.core.url_to_fs(full_url(location, location.secrets.get("", "")))
    except ImportError as exc:
        package = PACKAGES.get(location.scheme)
        if package is None:
            raise DataError(f"{location}: {exc}") from exc
        raise lacks(package, "", location) from exc
    except ValueError as exc:
        text = redacted(str(exc), *location.secrets.values())
        raise DataError(f"{location} is no URL that fsspec knows: {text}") from None
    return files, str(path)


@contextmanager
def failing(location: Location) -> Iterator[None]:
    """Other programs' errors become one line, in which no key is."""
    try:
        yield
    except (DataError, GeneratorExit):
        raise
    except FileNotFoundError:
        raise DataError(f"there is no {location}") from None
    except PermissionError as exc:
        text = redacted(str(exc), *location.secrets.values())
        raise DataError(
            f"{location} is not permitted: {text}; keys are read as the store's own tools read them"
        ) from None
    except Exception as exc:
        text = redacted(f"{type(exc).__name__}: {exc}", *location.secrets.values())
        raise Unreachable(f"{location} cannot be read or written: {text}") from None


def fetched(location: Location, folder: Path) -> list[Path]:
    """Copy a file, a folder of Parquet files, or all files that a pattern with * names.

    Args:
        location: of them.
        folder: of this machine, which is there.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    files, path = opened(location)
    with failing(location):
        if "*" in path:
            found = sorted(files.glob(path))
            if not found:
                raise DataError(f"there is no {location}")
            return [_copied(files, each, folder) for each in found]
        if path.rstrip("/").rpartition("/")[2].partition(".")[2] and files.isfile(path):
            return [_copied(files, path, folder)]
        if files.isdir(path):
            into = folder / f"{location.name}.parquet"
            into.mkdir(parents=True, exist_ok=True)
            inside = [
                each
                for each in sorted(files.find(path))
                if not any(part.startswith(("_", ".")) for part in _below(each, path).split("/"))
            ]
            if not any(each.endswith((".parquet", ".pq")) for each in inside):
                raise DataError(f"{location} is a folder without Parquet files")
            for each in inside:
                # With folders of it: their names may say what a column is.
                target = into / _below(each, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                files.get_file(each, str(target))
            return [into]
        return [_copied(files, path, folder)]


def is_delta(location: Location) -> bool:
    """Whether a URL is that of a folder with a Delta table in it."""
    files, path = opened(location)
    try:
        return bool(files.isdir(f"{path.rstrip('/')}/_delta_log"))
    except Exception:  # of the store's package: who reads it next is told what is wrong
        return False


def _below(path: str, folder: str) -> str:
    return path.removeprefix(folder.rstrip("/")).lstrip("/")


def _copied(files: Any, path: str, folder: Path) -> Path:
    target = folder / path.rstrip("/").rpartition("/")[2]
    number = 1
    while target.exists():
        number += 1
        target = folder / f"{number}-{path.rpartition('/')[2]}"
    files.get_file(path, str(target))
    return target


def sent(location: Location, made: Path, job: str = "") -> None:
    """Write a file that is whole, under a name of its own first.

    Args:
        location: where to.
        made: the file.
        job: who writes it; what it has left is written over by who tries again. "": nobody says.

    Raises:
        DataError: it is there already, or cannot be written.
    """
    files, path = opened(location)
    with failing(location):
        if files.exists(path):
            raise DataError(f"{location} is there; name a file that is not there yet")
        beside = _beside(path, job)
        with suppress(Exception):  # stores without folders differ in what they raise here
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
        files.put_file(str(made), beside)
        files.mv(beside, path)


def _beside(path: str, job: str) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}.{name}.{job}.tmp" if job else f"{folder}{slash}.{name}.tmp"


def swept(location: Location, job: str) -> None:
    """Remove what a job that was killed has left beside a file."""
    files, path = opened(location)
    with failing(location), suppress(FileNotFoundError):
        files.rm_file(_beside(path, job))


def holds(location: Location, made: Path) -> bool:
    """Whether a file has the bytes of one that is here; False where it is not there.

    Raises:
        DataError: it cannot be read.
    """
    files, path = opened(location)
    with failing(location):
        if not files.isfile(path) or files.size(path) != made.stat().st_size:
            return False
        with files.open(path, "rb") as there, made.open("rb") as here:
            while block := here.read(BLOCK):
                if there.read(BLOCK) != block:
                    return False
            return True


def removed(location: Location) -> None:
    """Remove a file, if it is there."""
    files, path = opened(location)
    with failing(location), suppress(FileNotFoundError):
        files.rm_file(path)
