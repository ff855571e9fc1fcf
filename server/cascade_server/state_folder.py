"""Loads and saves the files that a server keeps across restarts.

No content of such a file may stop the server from starting: a damaged file is renamed and logged,
and the server starts without it. A file is replaced as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

log = logging.getLogger("cascade.server")

T = TypeVar("T")

# No server file is nearly this large; a larger one was not written by a server.
MOST_BYTES = 256 * 2**20
# Errors that mean that the folder exists but cannot be written to.
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT})


def load(path: Path, decode: Callable[[bytes], T], without: str) -> T | None:
    """Load the value that was saved in a file.

    Args:
        path: the file.
        decode: parses the content; if it raises anything, the file counts as damaged.
        without: the consequence of starting without the file, for the log.

    Returns:
        The value; None if there is no such file, or if it is damaged, which is logged.
    """
    try:
        return decode(_content(path))
    except FileNotFoundError:
        return None
    # Any exception: unforeseen content, such as brackets nested a thousand deep or a number of a
    # million digits, must not keep the server from starting.
    except Exception as exc:
        why = str(exc) or type(exc).__name__
        if isinstance(exc, OSError) and exc.strerror:
            why = exc.strerror
    log.warning("%s is damaged (%s); %s, and it is %s", path, why, without, _set_aside(path))
    return None


def _content(path: Path) -> bytes:
    """Read a regular file; opening anything else, such as a FIFO, might block forever."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a regular file")
    if found.st_size > MOST_BYTES:
        raise ValueError(f"it has {found.st_size:,} bytes; at most {MOST_BYTES:,} are read")
    return path.read_bytes()


def _set_aside(path: Path) -> str:
    """Rename a damaged file; return the outcome, for the log."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    try:
        path.rename(aside)
    except OSError as exc:
        return f"left where it is, as the folder takes no other: {exc.strerror}"
    return f"kept as {aside.name}"


def save(path: Path, content: bytes) -> None:
    """Replace a file as a whole. Waits for the disk: do not call it from an event loop.

    Raises:
        OSError: the file cannot be replaced; the old one is still there.
    """
    beside = path.with_suffix(".tmp")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        # On a full disk, the partial file would take the space of smaller files.
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
