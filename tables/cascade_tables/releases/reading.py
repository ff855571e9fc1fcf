"""Files of a release, read so that whoever wrote them can neither stop nor mislead the reader.

A model repository may be written by others than those who serve it. A named pipe in it would block
whoever opens it, a device never ends, and a link can lead anywhere, so that only regular files that
lie inside of the repository are opened, and none is read beyond its limit.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from cascade_tables.errors import ReleaseError

# Bytes that a file may have, by its name. Manifests have a few thousand. A codec has some twenty
# thousand for each binned column. ONNX models end where protobuf does, at 2 GiB.
LIMITS: Mapping[str, int] = {
    "release.json": 4 * 2**20,
    "codec.json": 128 * 2**20,
    "model.onnx": 2**31 - 1,
}

SPECIAL = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_file(repository: Path, name: str) -> bytes:
    """One file of a repository.

    Args:
        repository: its folder; links to it, and on the way to it, are followed.
        name: of the file, relative to it. Links are followed as far as they stay inside.
            Its last part says how large it may be; see `LIMITS`.

    Raises:
        OSError: there is no such file, or it may not be read.
        ReleaseError: it is not a regular file, lies outside of the repository, or is too large;
            names it, and what is allowed.
    """
    path = repository / name
    limit = LIMITS[path.name]
    # Unlike `Path.resolve`, with an OSError where links lead in a circle.
    real = Path(os.path.realpath(path, strict=True))
    if not real.is_relative_to(os.path.realpath(repository)):
        raise ReleaseError(f"{path} leads to {real}; allowed: files inside of {repository}")
    check_regular(path, real.stat().st_mode)
    # Should it have been replaced since, the pipe does not block and the link is not followed.
    descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        check_regular(path, found.st_mode)
        check_size(path, found.st_size, limit)
        data = file.read(limit + 1)
    check_size(path, len(data), limit)
    return data


def check_regular(path: Path | str, mode: int) -> None:
    """Refuse what is not a regular file.

    Args:
        path: for the message.
        mode: as `stat` tells it.

    Raises:
        ReleaseError: names it, and what it is.
    """
    if not stat.S_ISREG(mode):
        what = SPECIAL.get(stat.S_IFMT(mode), "a special file")
        raise ReleaseError(f"{path} is {what}; allowed: a regular file")


def check_size(path: Path | str, size: int, limit: int) -> None:
    """Refuse a file that is too large to be what it should be.

    Raises:
        ReleaseError: names it, its size and the limit.
    """
    if size > limit:
        raise ReleaseError(f"{path} has {size:,} bytes or more; allowed: at most {limit:,}")
