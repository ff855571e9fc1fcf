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

PATH = Path(__file__).with_name("_row_codec.so")
# How the library's functions and structures are called; see VERSION in row_codec.c.
VERSION = 1
GET_COMPILER = (
    "it is built with the package where there is a C compiler: "
    "apt-get install gcc libc6-dev, then install cascade-synthesis again"
)

# Over memory that can be written to, an array's or a bytearray's, it is passed to a function as the
# memory's address. Of arrays, numpy's `ctypes.data` takes four times as long.
Argument: Any = ctypes.c_char * 0


@dataclass(frozen=True)
class Library:
    """The compiled functions; see row_codec.c. All take microseconds, and keep the interpreter's
    lock."""

    scan: Any
    encode: Any
    write: Any
    index: Any


@cache
def load_library(path: Path = PATH) -> Library | str:
    """The library, or why there is none and how to get it."""
    if not path.exists():
        return f"the compiled codec is not there; {GET_COMPILER}"
    try:
        found = ctypes.PyDLL(str(path))
        version = int(found.cascade_row_codec_version())
    except (OSError, AttributeError) as exc:
        return f"{path.name} cannot be loaded ({exc}); {GET_COMPILER}"
    if version != VERSION:
        return f"{path.name} is of version {version}, not {VERSION}; {GET_COMPILER}"
    address, number, message = ctypes.c_void_p, ctypes.c_int64, ctypes.c_char_p
    names = ("scan", "encode", "write", "index")
    functions = [getattr(found, f"cascade_row_codec_{name}") for name in names]
    arguments = (
        (message, number, address),
        (address, message, number, number, number, address),
        (
            *(address, address, address, number, address, number),
            *(message, number, number, number, address, number),
        ),
        (address,),
    )
    for function, taken in zip(functions, arguments, strict=True):
        function.argtypes, function.restype = taken, number
    functions[-1].restype = None
    return Library(*functions)
