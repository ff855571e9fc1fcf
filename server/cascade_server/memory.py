"""Counters shared by several processes: arrays in memory that stays shared across `fork`.

Each process writes to its own place and a reader adds up the places, so that counting needs no
lock. When a process dies, no count is lost: its successor continues in the same place.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
# How often a reader retries if a write interferes. A write takes microseconds. A write whose
# process was killed never ends; the reader then accepts its partial result.
TRIES = 1000


class Memory:
    """Allocates zeroed arrays.

    Args:
        shared: whether processes forked later see and change the same arrays.
    """

    def __init__(self, shared: bool = False) -> None:
        self._shared = shared

    def integers(self, count: int) -> NDArray[np.int64]:
        """Allocate counters: int64 [count], zeros."""
        return np.frombuffer(self._bytes(8 * count), np.int64, count)

    def floats(self, count: int) -> NDArray[np.float64]:
        """Allocate times or shares: float64 [count], zeros."""
        return np.frombuffer(self._bytes(8 * count), np.float64, count)

    def _bytes(self, size: int) -> mmap.mmap | bytearray:
        return mmap.mmap(-1, max(size, 1)) if self._shared else bytearray(size)


class Version:
    """A seqlock: readers of shared memory detect a concurrent write, and retry.

    The single writer writes in a `with` block; readers call `steady`.
    """

    def __init__(self, memory: Memory) -> None:
        self._number = memory.integers(1)

    def __enter__(self) -> None:
        # The number is odd if a writer was killed inside the block.
        self._number[0] += 1 + self._number[0] % 2

    def __exit__(self, *_: object) -> None:
        self._number[0] += 1

    def steady(self, look: Callable[[], T]) -> T:
        """Return the result of `look`, called again until no write interferes."""
        for _ in range(TRIES):
            before = int(self._number[0])
            found = look()
            if before % 2 == 0 and before == self._number[0]:
                return found
        return look()


class Note:
    """A message in shared memory that one process replaces as a whole and others read.

    Args:
        memory: where to allocate it.
        size: bytes that it can hold.

    Attributes:
        room: bytes that it can hold.
    """

    HEAD = struct.Struct("<Qd")

    def __init__(self, memory: Memory, size: int) -> None:
        self._version = Version(memory)
        self._content = memory.integers(-(-(size + self.HEAD.size) // 8)).view(np.uint8)
        self.room = len(self._content) - self.HEAD.size

    def write(self, content: bytes) -> None:
        """Replace the content, and note the time.

        Raises:
            ValueError: the content is longer than `size`.
        """
        data = self.HEAD.pack(len(content), time.monotonic()) + content
        if len(data) > len(self._content):
            raise ValueError(f"{len(data):,} bytes do not fit {len(self._content):,}")
        with self._version:
            self._content[: len(data)] = np.frombuffer(data, np.uint8)

    def read(self) -> tuple[bytes, float]:
        """Return the content, and when it was written (monotonic seconds; 0: never)."""

        def look() -> tuple[bytes, float]:
            length, written = self.HEAD.unpack(self._content[: self.HEAD.size].tobytes())
            return self._content[self.HEAD.size : self.HEAD.size + length].tobytes(), written

        return self._version.steady(look)
