"""The random numbers of a seed for a network, made here or on a GPU."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cascade_server.engines.native.library import Argument, Library, load_library
from cascade_server.engines.philox import BLOCK, Uniform, pass_over, position

# How many generators are kept for reuse by `stream`.
MOST_SPARE = 64

_SPARE: list[np.random.Generator] = []
# The state of a new generator.
_FRESH = dict(np.random.Philox(key=np.zeros(2, np.uint64)).state)

# Philox's counter has four words; the first two count blocks. The third says what numbers are for:
# drawing tokens, or places inside bins. So numbers of one use do not depend on how many of the
# other were made.
DRAW, INSIDE = 0, 1
# float64 numbers per block.
INSIDE_BLOCK = BLOCK // 2
# Rows whose places inside bins are made at once.
INSIDE_ROWS = 4096


def stream(seed: int, chunk: int = 0, start: int = 0) -> np.random.Generator:
    """Return a generator of the random numbers of a seed.

    Args:
        seed: the request's seed.
        chunk: number of the message in a long answer; each message has a stream of its own.
        start: how many float32 numbers of the stream to skip.
    """
    rng = _generator(seed, chunk, start // BLOCK, DRAW)
    if start % BLOCK:
        rng.random(start % BLOCK, dtype=np.float32)
    return rng


def _generator(seed: int, chunk: int, block: int, use: int) -> np.random.Generator:
    """Return a generator at the start of a block.

    Resetting a spare generator takes a tenth of the time of making a new one.
    """
    key = np.array([seed, chunk], np.uint64)
    counter = np.array([block % 2**64, block >> 64, use, 0], np.uint64)
    try:
        rng = _SPARE.pop()
    except IndexError:
        rng = np.random.Generator(np.random.Philox(key=key))
    rng.bit_generator.state = {**_FRESH, "state": {"counter": counter, "key": key}}
    return rng


def inside_bins(
    seed: int, first: int, rows: int, width: int
) -> Callable[[Sequence[int]], NDArray[np.float64]]:
    """Return uniform numbers in [0, 1) that place each number of an answer inside its bin.

    The number of a row and column does not depend on the others that are made.

    Args:
        seed: the request's seed.
        first: rows of the whole answer before these.
        rows: how many rows there are.
        width: number of columns of the schema.

    Returns:
        A function from the indices of b columns in the schema to float64 [b, rows].
    """
    library = load_library()
    if rows == 1 and isinstance(library, Library) and first < 2**64:
        return partial(_inside_row, library.inside, seed, first, width)

    def inside(columns: Sequence[int]) -> NDArray[np.float64]:
        start = first * width
        rng = _generator(seed, 0, start // INSIDE_BLOCK, INSIDE)
        if start % INSIDE_BLOCK:
            rng.random(start % INSIDE_BLOCK)
        parts = [
            rng.random((min(INSIDE_ROWS, rows - begin), width)).take(columns, axis=1).T
            for begin in range(0, rows, INSIDE_ROWS)
        ]
        recycle(rng)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    return inside


def _inside_row(
    make: Callable[..., None], seed: int, row: int, width: int, columns: Sequence[int]
) -> NDArray[np.float64]:
    """Make the numbers of `inside_bins` for one row, with the compiled generator."""
    out = np.empty((len(columns), 1))
    places = array("q", columns)
    make(
        *(seed, row, width, Argument.from_buffer(places), len(places)),
        Argument.from_buffer(out),
    )
    return out


def recycle(rng: np.random.Generator) -> None:
    """Return a generator to `stream` for reuse; nothing may draw from it afterwards."""
    if len(_SPARE) < MOST_SPARE:
        _SPARE.append(rng)


def new_seed() -> int:
    """Make a seed for a request without one; its 63 bits fit every language's integers."""
    return random.getrandbits(63)


# Returns the next uniform numbers in [0, 1), float32 of the given shape.
NoiseSource: TypeAlias = Callable[[tuple[int, int]], NDArray[np.float32]]


class StreamNoise:
    """The noise of a `stream`, one part after another; a `NoiseSource`."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def __call__(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        return self._rng.random(shape, dtype=np.float32)

    def later(self, shape: tuple[int, int]) -> Uniform:
        """Skip the next numbers and return their location in the stream, for a GPU to make them."""
        rows, width = shape
        seed, chunk, start = position(self._rng.bit_generator.state)
        pass_over(self._rng, rows * width)
        return Uniform(seed, chunk, start, rows, width)


def noise_of(rng: np.random.Generator) -> StreamNoise:
    """Return the noise of a `stream`, as a `NoiseSource`."""
    return StreamNoise(rng)
