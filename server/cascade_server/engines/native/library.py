"""Finds and loads the compiled library, or says why there is none.

The library is built with the package if there is a C compiler (`hatch_build.py`), and lies beside
this file. It does not use the Python API and is loaded by ctypes, so one build serves every Python.
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
# Version of the library's functions and structures; see VERSION in student_walk.c.
VERSION = 6


@dataclass(frozen=True)
class Library:
    """The compiled functions; the walk's can be called in two ways.

    Attributes:
        noise, inside: make a seed's numbers. They take microseconds and keep the interpreter's
            lock.
        holding: the walk, keeping the interpreter's lock. For calls that take microseconds:
            releasing the lock and waiting for it again could cost a turn of another thread.
        releasing: the walk, releasing the lock so that other threads can run.
        half: whether this processor supports matrices in half precision.
    """

    holding: Any
    releasing: Any
    half: bool
    noise: Any = None
    inside: Any = None


@cache
def load_library(path: Path = PATH) -> Library | str:
    """Load the library; return it, or why there is none and how to get it.

    A library that was built from other sources than those beside it is not used; a warning says so,
    once.
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
