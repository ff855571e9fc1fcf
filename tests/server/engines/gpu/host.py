"""A device that is the host itself: the lanes' own code, over memory that tests can see."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from cascade_server.engines.gpu.kernels import Reveal
from cascade_server.engines.philox import BLOCK, Uniform, blocks
from cascade_tables.sampling import reveal_passes
from numpy.typing import DTypeLike, NDArray


class HostDevice:
    """See `device.Device`; what is queued is done at once, but for captured work."""

    kind = "cpu"
    stream = 0

    def __init__(self) -> None:
        self._kept: list[NDArray[Any]] = []
        self.copied_in = self.copied_out = self.launched = self.waited = 0
        self._capturing: list[Callable[[], None]] | None = None

    def allocate(self, size: int) -> int:
        return self.pinned((size,), np.uint8).ctypes.data

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        array = np.zeros(shape, dtype)
        self._kept.append(array)
        return array

    def copy_in(self, to: int, source: NDArray[Any]) -> None:
        self.copied_in += 1
        ctypes.memmove(to, source.ctypes.data, source.nbytes)

    def copy_out(self, to: NDArray[Any], source: int) -> None:
        self.copied_out += 1
        ctypes.memmove(to.ctypes.data, source, to.nbytes)

    def copy(self, to: int, source: int, size: int) -> None:
        ctypes.memmove(to, source, size)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        return work

    def launch(self, graph: Callable[[], None]) -> None:
        self.launched += 1
        graph()

    def synchronize(self) -> None:
        self.waited += 1

    def uniform(self, noise: Uniform, order: int, columns: int, to: int) -> None:
        """With the counter-based blocks that the kernel computes."""
        end = noise.start + noise.rows * noise.width
        first, last = noise.start // BLOCK, -(-end // BLOCK)
        made = blocks(noise.seed, noise.chunk, np.arange(first + 1, last + 1, dtype=np.uint64))
        at = noise.start - first * BLOCK
        numbers = made.ravel()[at : at + noise.rows * noise.width].reshape(noise.rows, noise.width)
        if columns:
            _array(order, (noise.rows, columns), np.float32)[:] = numbers[:, :columns]
        _array(to, (noise.rows, noise.width - columns), np.float32)[:] = numbers[:, columns:]

    def reveal(self, reveal: Reveal, observed: int, order: int, to: int) -> None:
        known = _array(observed, (reveal.rows, reveal.slots), np.bool_)
        keys = _array(order, (reveal.rows, reveal.columns), np.float32)
        column = _array(reveal.column_of_slot, (reveal.slots,), np.int32)
        out = _array(to, (reveal.rows, reveal.slots), np.int32)
        out[:] = reveal_passes(known, keys, column.tolist(), reveal.leading, reveal.steps)


def _array(address: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    kind = np.dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize
    return np.frombuffer((ctypes.c_byte * size).from_address(address), kind).reshape(shape)
