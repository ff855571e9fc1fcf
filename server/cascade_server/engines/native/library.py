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

PATH = Path(__file__).with_name("_student_walk.so")
# How the library's functions and structures are called; see VERSION in student_walk.c.
VERSION = 5
GET_COMPILER = (
    "it is built with the package where there is a C compiler: "
    "apt-get install gcc libc6-dev, then install cascade-synthesis again"
)

# Over memory that can be written to, an array's or a bytearray's, it is passed to a function as the
# memory's address. Of arrays, numpy's `ctypes.data` takes four times as long.
Argument: Any = ctypes.c_char * 0


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
    """The library, or why there is none and how to get it."""
    if not path.exists():
        return f"the compiled student is not there; {GET_COMPILER}"
    try:
        holding, releasing = ctypes.PyDLL(str(path)), ctypes.CDLL(str(path))
        version = int(holding.cascade_student_walk_version())
    except (OSError, AttributeError) as exc:
        return f"{path.name} cannot be loaded ({exc}); {GET_COMPILER}"
    if version != VERSION:
        return f"{path.name} is of version {version}, not {VERSION}; {GET_COMPILER}"
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
