"""Files while they are being made, of which nothing is to stay where a process is killed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A new file in the folder of another one, to be renamed to it when it is whole; gone
    afterwards where it was not.

    Its name follows from the other one's, so that whoever tries again writes over what a process
    has left that was killed. It is locked meanwhile: whoever makes the same file at once takes a
    name that nobody has.

    Args:
        path: what it is to become.

    Raises:
        OSError: there can be no such file.
    """
    made = _name(path)
    lock = _locked(made)
    if lock is None:
        descriptor, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)
        return
    try:
        yield made
    finally:
        _let_go(lock, made)


@contextmanager
def unnamed() -> Iterator[Path]:
    """A new file that goes with this process, by a path that others of it may open."""
    with tempfile.TemporaryFile() as file:
        by_number = Path(f"/proc/self/fd/{file.fileno()}")
        if by_number.exists():
            yield by_number
            return
    with tempfile.TemporaryDirectory(prefix="cascade-") as folder:
        yield Path(folder) / "made"


def sweep(path: Path) -> None:
    """Remove what a process that was killed has left beside a file; what is being made stays."""
    made = _name(path)
    with suppress(OSError):
        if made.exists() and (lock := _locked(made)) is not None:
            _let_go(lock, made)


def _name(path: Path) -> Path:
    return path.with_name(f".{path.name}.cascade.tmp")


def _locked(made: Path) -> int | None:
    """Make a file and lock it; None: it cannot be. Somebody else has locked it, it is another
    user's or a link, its name is too long, or its file system has no locks."""
    while fcntl is not None:
        try:
            lock = os.open(made, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(lock)
            if not isinstance(exc, BlockingIOError):
                made.unlink(missing_ok=True)
            return None
        if _is_at(lock, made):
            return lock
        # Whoever had the lock has renamed it in this very moment.
        os.close(lock)
    return None


def _let_go(lock: int, made: Path) -> None:
    try:
        # By its new name it is no more to be removed, and by its old one another may be there.
        if _is_at(lock, made):
            made.unlink()
    finally:
        os.close(lock)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of a name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
