"""Safe reading of a release's files: their writer can neither block nor mislead the reader.

Other parties than the server may write to a model repository. Opening a named pipe would block, a
device never ends, and a link can lead anywhere. So only regular files inside the repository are
opened, and none is read beyond its limit.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from cascade_tables.errors import ReleaseError

# Size limits in bytes, by file name. Manifests have a few thousand. A codec has some twenty
# thousand per binned column. ONNX models are limited by protobuf to 2 GiB.
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
    """Read one file of a repository.

    Args:
        repository: its folder; links to it, and on the way to it, are followed.
        name: of the file, relative to it. Links are followed if they stay inside. The last part
            determines the size limit; see `LIMITS`.

    Raises:
        OSError: there is no such file, or it may not be read.
        ReleaseError: it is not a regular file, lies outside of the repository, or is too large;
            names it, and what is allowed.
    """
    path = repository / name
    limit = LIMITS[path.name]
    # Unlike `Path.resolve`, this raises OSError for a cycle of links.
    real = Path(os.path.realpath(path, strict=True))
    if not real.is_relative_to(os.path.realpath(repository)):
        raise ReleaseError(f"{path} leads to {real}; allowed: files inside of {repository}")
    check_regular(path, real.stat().st_mode)
    # If it has been replaced since, a pipe does not block and a link is not followed.
    descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        check_regular(path, found.st_mode)
        check_size(path, found.st_size, limit)
        data = file.read(limit + 1)
    check_size(path, len(data), limit)
    return data


def check_regular(path: Path | str, mode: int) -> None:
    """Refuse anything but a regular file.

    Args:
        path: for the message.
        mode: from `stat`.

    Raises:
        ReleaseError: names it, and what it is.
    """
    if not stat.S_ISREG(mode):
        what = SPECIAL.get(stat.S_IFMT(mode), "a special file")
        raise ReleaseError(f"{path} is {what}; allowed: a regular file")


def check_size(path: Path | str, size: int, limit: int) -> None:
    """Refuse a file above its size limit.

    Raises:
        ReleaseError: names it, its size and the limit.
    """
    if size > limit:
        raise ReleaseError(f"{path} has {size:,} bytes or more; allowed: at most {limit:,}")
