"""Counters that several processes see: arrays in memory that is shared when they part.

What one process has counted lies in a place of its own, which nobody else writes to; whoever wants
to know what all have counted adds the places up. A process that dies takes no count with it: the
next one in its place goes on from there.
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
# Times that a reader looks again where it was written meanwhile. A writer takes microseconds; one
# that was killed while it wrote never ends, and what it left is taken as it is.
TRIES = 1000


class Memory:
    """Gives out zeroed arrays, of this process alone or shared with those it forks."""

    def __init__(self, shared: bool = False) -> None:
        self._shared = shared

    def integers(self, count: int) -> NDArray[np.int64]:
        """Room for counters: int64 [count], zeros, seen by every process that comes of this one."""
        return np.frombuffer(self._bytes(8 * count), np.int64, count)

    def floats(self, count: int) -> NDArray[np.float64]:
        """Room for times and shares: float64 [count], zeros, seen likewise."""
        return np.frombuffer(self._bytes(8 * count), np.float64, count)

    def _bytes(self, size: int) -> mmap.mmap | bytearray:
        return mmap.mmap(-1, max(size, 1)) if self._shared else bytearray(size)


class Version:
    """Tells readers that what they read was written meanwhile (a seqlock)."""

    def __init__(self, memory: Memory) -> None:
        self._number = memory.integers(1)

    def __enter__(self) -> None:
        # One that was killed while it wrote has left it odd.
        self._number[0] += 1 + self._number[0] % 2

    def __exit__(self, *_: object) -> None:
        self._number[0] += 1

    def steady(self, look: Callable[[], T]) -> T:
        """What `look` finds between two writes."""
        for _ in range(TRIES):
            before = int(self._number[0])
            found = look()
            if before % 2 == 0 and before == self._number[0]:
                return found
        return look()


class Note:
    """Bytes that one process writes, whole, and others read; with the time they were written.

    Attributes:
        room: for so many bytes there is.
    """

    HEAD = struct.Struct("<Qd")

    def __init__(self, memory: Memory, size: int) -> None:
        self._version = Version(memory)
        self._content = memory.integers(-(-(size + self.HEAD.size) // 8)).view(np.uint8)
        self.room = len(self._content) - self.HEAD.size

    def write(self, content: bytes) -> None:
        """Replace what there is.

        Raises:
            ValueError: it is too long.
        """
        data = self.HEAD.pack(len(content), time.monotonic()) + content
        if len(data) > len(self._content):
            raise ValueError(f"{len(data):,} bytes do not fit {len(self._content):,}")
        with self._version:
            self._content[: len(data)] = np.frombuffer(data, np.uint8)

    def read(self) -> tuple[bytes, float]:
        """What there is, and when it was written (monotonic seconds; 0: never)."""

        def look() -> tuple[bytes, float]:
            length, written = self.HEAD.unpack(self._content[: self.HEAD.size].tobytes())
            return self._content[self.HEAD.size : self.HEAD.size + length].tobytes(), written

        return self._version.steady(look)
