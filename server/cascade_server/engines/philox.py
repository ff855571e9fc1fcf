"""NumPy's Philox generator from any position of its stream, so that a GPU can make equal numbers.

A seed's uniform numbers are those of `numpy.random.Generator(numpy.random.Philox(key=[seed,
chunk])).random(dtype=float32)`. Philox (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2,
3", SC 2011) is counter-based: each thread of a GPU can compute its own numbers, so no noise has to
cross the bus. `gpu.kernels` has the GPU version of `blocks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDS = 10
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
# float32 numbers per block: four 64-bit words, two numbers each, the low half first.
BLOCK = 8


@dataclass(frozen=True)
class Uniform:
    """Uniform float32 numbers [rows, width] that have not been made yet.

    Attributes:
        seed, chunk: the stream's key; see `noise.stream`.
        start: how many numbers of the stream come before the first.
        rows, width: the shape.
    """

    seed: int
    chunk: int
    start: int
    rows: int
    width: int

    def __getitem__(self, part: slice) -> Uniform:
        """Return the numbers of some of the rows."""
        first, last, _ = part.indices(self.rows)
        start = self.start + first * self.width
        return Uniform(self.seed, self.chunk, start, max(0, last - first), self.width)

    def array(self) -> NDArray[np.float32]:
        """Make the numbers with NumPy: float32 [rows, width]."""
        philox = np.random.Philox(key=np.array([self.seed, self.chunk], np.uint64))
        philox.advance(self.start // BLOCK)
        rng = np.random.Generator(philox)
        rng.random(self.start % BLOCK, dtype=np.float32)
        return rng.random((self.rows, self.width), dtype=np.float32)


def position(state: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return seed, chunk and the count of float32 numbers drawn, from a Philox generator's state.

    The count is right only if nothing but float32 numbers has been drawn, as from `noise.stream`
    until the draw is complete.
    """
    seed, chunk = (int(word) for word in state["state"]["key"])
    blocks_made = sum(int(w) << 64 * i for i, w in enumerate(state["state"]["counter"]))
    drawn = BLOCK * (blocks_made - 1) + 2 * int(state["buffer_pos"]) - int(state["has_uint32"])
    return seed, chunk, drawn


def pass_over(rng: np.random.Generator, count: int) -> None:
    """Advance a Philox generator as if `count` float32 numbers had been drawn from it."""
    begun = position(rng.bit_generator.state)[2] % BLOCK
    if begun:
        first = min(count, BLOCK - begun)
        rng.random(first, dtype=np.float32)
        count -= first
    if count >= BLOCK:
        philox: Any = rng.bit_generator
        philox.advance(count // BLOCK)
    rng.random(count % BLOCK, dtype=np.float32)


def blocks(seed: int, chunk: int, counters: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Return the numbers of some blocks of a stream, float32 [len(counters), 8].

    The first block is 1.
    """
    c0, c1, c2, c3 = counters.astype(np.uint64), *(np.zeros(len(counters), np.uint64),) * 3
    key = [seed, chunk]
    for _ in range(ROUNDS):
        high0, low0 = _product(MULTIPLIERS[0], c0)
        high1, low1 = _product(MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = (
            high1 ^ c1 ^ np.uint64(key[0]),
            low1,
            high0 ^ c3 ^ np.uint64(key[1]),
            low0,
        )
        key = [(k + w) % 2**64 for k, w in zip(key, WEYL, strict=True)]
    words = np.stack([c0, c1, c2, c3], axis=1)
    halves = np.stack([words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)], axis=2)
    bits = halves.reshape(len(counters), BLOCK).astype(np.uint32)
    return (bits >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def _product(factor: int, value: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], ...]:
    """Return high and low words of a 64 x 64 bit product, from products of 32-bit halves."""
    low32 = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    a1, a0 = np.uint64(factor >> 32), np.uint64(factor & 0xFFFFFFFF)
    b1, b0 = value >> shift, value & low32
    middle = a1 * b0 + (a0 * b0 >> shift)
    other = a0 * b1 + (middle & low32)
    high = a1 * b1 + (middle >> shift) + (other >> shift)
    return high, np.uint64(factor) * value
