"""Files that a server keeps from one life to the next: whole, or set aside.

They are read when a server starts, and no content of theirs may stop it: what is damaged is kept
under another name, said once, and done without. They are replaced whole or not at all.
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

# No file of a server's comes near it; one that is larger was not written by a server.
MOST_BYTES = 256 * 2**20
# Why a folder takes nothing though it is the one that was meant.
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT})


def load(path: Path, decode: Callable[[bytes], T], without: str) -> T | None:
    """What was saved in a file.

    Args:
        path: the file.
        decode: makes a value of its content; whatever it raises, the file is damaged.
        without: what follows of doing without it, for the log.

    Returns:
        The value; None: there is no such file, or none that can be read, which is logged.
    """
    try:
        return decode(_content(path))
    except FileNotFoundError:
        return None
    # Not a list of kinds: content that nobody thought of (brackets in brackets by the thousand, a
    # number of a million digits) must not be what keeps a server from answering.
    except Exception as exc:
        why = str(exc) or type(exc).__name__
        if isinstance(exc, OSError) and exc.strerror:
            why = exc.strerror
    log.warning("%s is damaged (%s); %s, and it is %s", path, why, without, _set_aside(path))
    return None


def _content(path: Path) -> bytes:
    """A regular file's bytes; to open anything else, such as a FIFO, might take for ever."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a regular file")
    if found.st_size > MOST_BYTES:
        raise ValueError(f"it has {found.st_size:,} bytes; at most {MOST_BYTES:,} are read")
    return path.read_bytes()


def _set_aside(path: Path) -> str:
    """Give a file another name; says what became of it."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    try:
        path.rename(aside)
    except OSError as exc:
        return f"left where it is, as the folder takes no other: {exc.strerror}"
    return f"kept as {aside.name}"


def save(path: Path, content: bytes) -> None:
    """Replace a file, whole; not from an event loop, for it waits for the disk.

    Raises:
        OSError: it cannot be; the old file is still there.
    """
    beside = path.with_suffix(".tmp")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        # Of a disk that is full it would keep the last room from what may be smaller.
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
