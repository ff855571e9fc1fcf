"""Noise: a seed's random numbers, and how they reach a network, made here or by a GPU's threads."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from cascade_server.engines.philox import Uniform, pass_over, position
from cascade_server.engines.runtime import Noise

# Generators that `stream` may hand out again, and the state of one that nothing was drawn from.
MOST_SPARE = 64

_SPARE: list[np.random.Generator] = []

_ZEROS = np.zeros(4, np.uint64)

_FRESH = dict(np.random.Philox(key=np.zeros(2, np.uint64)).state)


def stream(seed: int, chunk: int = 0) -> np.random.Generator:
    """Random numbers of a seed, other ones for each chunk of a long answer.

    First the noise of the draw is taken from it, then the places inside the bins. To set a spare
    generator's state takes a tenth of the time that a new one takes.
    """
    key = np.array([seed, chunk], np.uint64)
    try:
        rng = _SPARE.pop()
    except IndexError:
        return np.random.Generator(np.random.Philox(key=key))
    rng.bit_generator.state = {**_FRESH, "state": {"counter": _ZEROS, "key": key}}
    return rng


def recycle(rng: np.random.Generator) -> None:
    """Nobody draws from this `stream` any more."""
    if len(_SPARE) < MOST_SPARE:
        _SPARE.append(rng)


def new_seed() -> int:
    """A seed for a caller who named none; 63 bits, so that any client can hold it."""
    return random.getrandbits(63)


# Uniform numbers in [0, 1), as many as the shape says; asked for a part at a time.
NoiseSource: TypeAlias = Callable[[tuple[int, int]], Noise]


class StreamNoise:
    """Noise as it comes from a `synthesis.stream`; a `NoiseSource`."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def __call__(self, shape: tuple[int, int]) -> Noise:
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
