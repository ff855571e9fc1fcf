"""Encoded rows on disk: written in parts, read by row without loading the whole file.

A row takes some hundred bytes of tokens, so ten million rows should not be in memory at once, and
training does not need that. They form one tensor in a safetensors file, in the smallest integers
that hold them, so that any reader of such files can read them. Here the file is memory-mapped, and
only a batch's rows are copied.
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
# Most of a mapped file that may stay in this process's memory. Pages that were read stay there
# until they are released, as long as no other process needs the memory.
MOST_RESIDENT = 128 << 20
# The kernel also maps the neighbours of a page that is touched.
PAGES_A_ROW = 16 * mmap.PAGESIZE


def smallest_dtype(most: int) -> str:
    """Return the safetensors name of the smallest integers that hold 0 to `most`."""
    return next(name for name, dtype in DTYPES.items() if most <= np.iinfo(dtype).max)


class TokenWriter:
    """Writer of token rows to a file that is whole or absent: `commit` puts it in place.

    Use it in a `with` statement; an uncommitted file is removed at the end.

    Args:
        path: of the file.
        rows: number of rows to write.
        slots: tokens per row.
        most: the largest token.
        identity: text to store with them.

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
        """Write the next rows, int32 [n, T].

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
            DiskFull: there is no room; the previous file is intact.
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
    """Reserve space for the whole file, if the file system can, to fail now rather than later."""
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
    """Token rows on disk; indexing returns int64 [n, T].

    Args:
        path: of a file that `TokenWriter` wrote.

    Raises:
        RunDamaged: the file is something else, or incomplete.
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
            # A private mapping, because torch requires writable memory; nothing is ever written to
            # it.
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
        """Return the same rows for computation on a device.

        A GPU gets all rows into its own memory, in the integers that they are stored in.
        """
        moved = copy.copy(self)
        moved._tokens = self._tokens.to(device)
        return moved
