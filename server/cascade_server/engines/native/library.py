"""The compiled library: where it lies, and why there is none where there is none.

It is built when the package is, if there is a C compiler (`hatch_build.py`), and lies beside this
file. It has no Python in it and is loaded by ctypes, so that one build serves every Python.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cascade_tables.compiled import GET_COMPILER, Argument, load

__all__ = ["GET_COMPILER", "PATH", "VERSION", "Argument", "Library", "load_library"]

PATH = Path(__file__).with_name("_student_walk.so")
# How the library's functions and structures are called; see VERSION in student_walk.c.
VERSION = 6


@dataclass(frozen=True)
class Library:
    """The compiled functions, that of the walk called in two ways.

    Attributes:
        noise, inside: make a seed's numbers; they take microseconds and keep the interpreter's
            lock.
        holding: keeps the interpreter's lock, for calls that take microseconds: giving it up and
            waiting for it to come back could cost a turn of another thread.
        releasing: gives it up meanwhile, so that other threads go on.
        half: whether matrices may be of half-precision numbers on this processor.
    """

    holding: Any
    releasing: Any
    half: bool
    noise: Any = None
    inside: Any = None


@cache
def load_library(path: Path = PATH) -> Library | str:
    """The library, or why there is none and how to get it.

    One that was made of other sources than lie beside it is none: a warning says so, once.
    """
    holding = load(path, "cascade_student_walk", VERSION, "student")
    if isinstance(holding, str):
        return holding
    releasing = ctypes.CDLL(str(path))
    functions = holding.cascade_student_walk, releasing.cascade_student_walk
    for function in functions:
        function.restype = ctypes.c_int64
        function.argtypes = [ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * 3]
    noise, inside = holding.cascade_student_noise, holding.cascade_inside_bins
    noise.restype = inside.restype = None
    address, number, seed = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64
    noise.argtypes = [address, seed, seed, number, number, number, address, address]
    inside.argtypes = [seed, seed, number, address, number, address]
    half = bool(holding.cascade_student_walk_half())
    return Library(*functions, half=half, noise=noise, inside=inside)
