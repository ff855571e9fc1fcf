"""The compiled library: its location, or why it is missing.

It is built with the package if there is a C compiler (`hatch_build.py`), and lies beside this file.
It does not use Python's API and is loaded by ctypes, so that one build serves every Python.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cascade_tables.compiled import GET_COMPILER, Argument, load

__all__ = ["GET_COMPILER", "PATH", "VERSION", "Argument", "Library", "load_library"]

PATH = Path(__file__).with_name("_row_codec.so")
# Version of the library's interface; see VERSION in row_codec.c.
VERSION = 4


@dataclass(frozen=True)
class Library:
    """The compiled functions; see row_codec.c. They take microseconds, and do not release
    the GIL.
    """

    scan: Any
    encode: Any
    write: Any
    write_draws: Any
    index: Any


@cache
def load_library(path: Path = PATH) -> Library | str:
    """Return the library, or why it is missing and how to get it."""
    found = load(path, "cascade_row_codec", VERSION, "codec")
    if isinstance(found, str):
        return found
    address, number, message = ctypes.c_void_p, ctypes.c_int64, ctypes.c_char_p
    names = ("scan", "encode", "write", "write_draws", "index")
    functions = [getattr(found, f"cascade_row_codec_{name}") for name in names]
    arguments = (
        (message, number, address),
        (address, message, number, number, number, address),
        (
            *(address, address, address, number, address, number),
            *(message, number, number, number, address, address, number, address, number),
        ),
        (
            *(address, number, address, address, number, address, number),
            *(message, number, number, number, address, address, address, number),
            *(address, number, address, number),
        ),
        (address,),
    )
    for function, taken in zip(functions, arguments, strict=True):
        function.argtypes, function.restype = taken, number
    functions[-1].restype = None
    return Library(*functions)
