"""Encoded rows on disk: written as they come, read by row where they lie.

A table of ten million rows is some hundred bytes a row of tokens, which no training needs in memory
at once. They are one tensor in a safetensors file, of the smallest integers that hold them, so that
any reader of such files reads them; here they are mapped, and a batch's rows are what is copied.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import hashlib
import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cascade_distill.errors import DiskFull, RunDamaged

NAME = "tokens"
DTYPES: dict[str, np.dtype[Any]] = {
    "U8": np.dtype(np.uint8),
    "I16": np.dtype(np.int16),
    "I32": np.dtype(np.int32),
}
# Of a mapped file, what may stay in this process's memory; pages that were read stay there until
# they are given back, since nobody else asks for the room.
MOST_RESIDENT = 128 << 20
# The kernel maps the neighbours of a page that is touched.
PAGES_A_ROW = 16 * mmap.PAGESIZE


def smallest_dtype(most: int) -> str:
    """The name, in safetensors files, of the smallest integers that hold 0 to `most`."""
    return next(name for name, dtype in DTYPES.items() if most <= np.iinfo(dtype).max)


class TokenWriter:
    """Writes rows of tokens to a file that is whole or not there: `commit` puts it in its place.

    Used in a `with` statement; what was not committed when it ends is removed.

    Args:
        path: of the file.
        rows: that will be written.
        slots: tokens of a row.
        most: the largest token.
        identity: text that is kept with them.

    Raises:
        DiskFull: there is no room for all rows.
    """

    def __init__(self, path: Path, rows: int, slots: int, most: int, identity: str) -> None:
        dtype = smallest_dtype(most)
        self._path, self._rows, self._dtype = path, rows, DTYPES[dtype]
        self._left = rows
        self._hash = hashlib.sha256()
        size = rows * slots * self._dtype.itemsize
        content = {  # in the order in which safetensors itself writes
            "__metadata__": {"identity": identity},
            NAME: {"dtype": dtype, "shape": [rows, slots], "data_offsets": [0, size]},
        }
        text = json.dumps(content, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._partial = path.with_name(path.name + ".partial")
        self._size = 8 + len(text) + size
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._partial.open("wb")
        try:
            with _no_room(path, self._size):
                _reserve(self._file.fileno(), self._size)
            self._write(len(text).to_bytes(8, "little") + text)
        except BaseException:  # also KeyboardInterrupt: the room of all rows would stay taken
            self._discard()
            raise

    def append(self, tokens: NDArray[np.int32]) -> None:
        """The next rows, int32 [n, T].

        Raises:
            DiskFull: there is no room.
        """
        whole = np.ascontiguousarray(tokens)
        self._hash.update(whole.data)
        self._left -= len(whole)
        self._write(whole.astype(self._dtype).data)

    @property
    def digest(self) -> str:
        """SHA-256 in hex of the rows so far, as int32."""
        return self._hash.hexdigest()

    def commit(self) -> None:
        """Put the file in its place.

        Raises:
            DiskFull: there is no room; what stood there is intact.
            ValueError: not all rows were written.
        """
        if self._left:
            raise ValueError(f"{self._rows - self._left:,} of {self._rows:,} rows were written")
        with _no_room(self._path, self._size):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._partial, self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._discard()

    def _write(self, content: bytes | memoryview) -> None:
        with _no_room(self._path, self._size):
            self._file.write(content)

    def _discard(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._partial.unlink()


def _reserve(file: int, size: int) -> None:
    """Make room for a whole file, where the file system can: it fails now rather than later."""
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise


@contextlib.contextmanager
def _no_room(path: Path, size: int) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(path, size) from exc
        raise


class StoredTokens:
    """Rows of tokens where they lie on disk; taking some gives int64 [n, T].

    Args:
        path: of a file that `TokenWriter` wrote.

    Raises:
        RunDamaged: it is none, or not whole.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._open(path)
        except (ValueError, TypeError, LookupError, OverflowError, MemoryError) as exc:
            raise RunDamaged(path, exc) from exc
        self._touched = 0

    def _open(self, path: Path) -> None:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            content = json.loads(file.read(length))
            # Private, so that torch may have it as its own; nothing is ever written to it.
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        about = content[NAME]
        self.identity: str = content.get("__metadata__", {}).get("identity", "")
        self._rows, self.slots = about["shape"]
        dtype = DTYPES[about["dtype"]]
        count = self._rows * self.slots
        array = np.frombuffer(self._map, dtype, count, 8 + length).reshape(self._rows, self.slots)
        self._tokens = torch.from_numpy(array)

    def __len__(self) -> int:
        return int(self._rows)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        taken = self._tokens[rows].long()
        if self._tokens.device.type == "cpu" and len(self._map) > MOST_RESIDENT:
            pages = max(PAGES_A_ROW, self.slots * self._tokens.element_size())
            self._touched += len(taken) * pages
            if self._touched > MOST_RESIDENT:
                self._map.madvise(mmap.MADV_DONTNEED)
                self._touched = 0
        return taken

    def to(self, device: torch.device) -> StoredTokens:
        """The same rows where a device computes on them: a GPU has all in its own memory, in the
        integers that they are stored in."""
        moved = copy.copy(self)
        moved._tokens = self._tokens.to(device)
        return moved
