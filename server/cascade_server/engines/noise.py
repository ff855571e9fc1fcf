"""Noise: a seed's random numbers, and how they reach a network, made here or by a GPU's threads."""

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

# Generators that `stream` may hand out again, and the state of one that nothing was drawn from.
MOST_SPARE = 64

_SPARE: list[np.random.Generator] = []

_FRESH = dict(np.random.Philox(key=np.zeros(2, np.uint64)).state)

# Philox's counter has four words, of which the first two count blocks. The third tells apart what a
# seed's numbers are for, so that the one does not depend on how many of the other were made.
DRAW, INSIDE = 0, 1
# float64 numbers of a block.
INSIDE_BLOCK = BLOCK // 2
# Rows whose places inside of bins are made at once.
INSIDE_ROWS = 4096


def stream(seed: int, chunk: int = 0, start: int = 0) -> np.random.Generator:
    """Random numbers of a seed, other ones for each chunk of a long answer.

    Args:
        start: float32 numbers that others have drawn of it.
    """
    rng = _generator(seed, chunk, start // BLOCK, DRAW)
    if start % BLOCK:
        rng.random(start % BLOCK, dtype=np.float32)
    return rng


def _generator(seed: int, chunk: int, block: int, use: int) -> np.random.Generator:
    """One that is about to make a block. To set a spare generator's state takes a tenth of the time
    that a new one takes."""
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
    """Where inside of its bin each number of an answer is: uniform numbers in [0, 1).

    Each row and column has its own, whichever others are asked for.

    Args:
        seed: the request's.
        first: rows of the whole answer before the first of these.
        rows: how many there are.
        width: columns of the schema.

    Returns:
        Gives float64 [b, rows] for b columns, by their places in the schema; the same for a column
        each time.
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
    """`inside_bins` of one row, by the compiled generator, which makes no numbers of others."""
    out = np.empty((len(columns), 1))
    places = array("q", columns)
    make(
        *(seed, row, width, Argument.from_buffer(places), len(places)),
        Argument.from_buffer(out),
    )
    return out


def recycle(rng: np.random.Generator) -> None:
    """Nobody draws from this `stream` any more."""
    if len(_SPARE) < MOST_SPARE:
        _SPARE.append(rng)


def new_seed() -> int:
    """A seed for a caller who named none; 63 bits, so that any client can hold it."""
    return random.getrandbits(63)


# Uniform numbers in [0, 1), as many as the shape says; asked for a part at a time.
NoiseSource: TypeAlias = Callable[[tuple[int, int]], NDArray[np.float32]]


class StreamNoise:
    """Noise as it comes from a `synthesis.stream`; a `NoiseSource`."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def __call__(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        return self._rng.random(shape, dtype=np.float32)

    def later(self, shape: tuple[int, int]) -> Uniform:
        """The same numbers, for who makes them himself; the stream goes on after them."""
        rows, width = shape
        seed, chunk, start = position(self._rng.bit_generator.state)
        pass_over(self._rng, rows * width)
        return Uniform(seed, chunk, start, rows, width)


def noise_of(rng: np.random.Generator) -> StreamNoise:
    """Noise as it comes from `synthesis.stream`."""
    return StreamNoise(rng)
