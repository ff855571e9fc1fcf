"""Compiled libraries that lie beside their sources: which are used, and why others are not.

A library that stays behind when its sources are edited, or replaced by those of another version,
would be loaded and do what it always did. `hatch_build.py` compiles the hash of what it compiles,
and `load` compares it with what lies beside the library. Both read this file: it imports nothing of
the package, which is not there yet when it is built.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
from pathlib import Path
from typing import Any

log = logging.getLogger("cascade.tables")

GET_COMPILER = (
    "it is built with the package where there is a C compiler: "
    "apt-get install gcc libc6-dev, then install cascade-synthesis again"
)

# Over memory that can be written to, an array's or a bytearray's, it is passed to a function as the
# memory's address. Of arrays, numpy's `ctypes.data` takes four times as long.
Argument: Any = ctypes.c_char * 0


def hash_of_sources(folder: Path) -> str:
    """SHA-256 in hex of the C sources and headers in a folder; "" where it has none."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".c", ".h"))
    if not paths:
        return ""
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def load(path: Path, prefix: str, version: int, what: str) -> ctypes.PyDLL | str:
    """A library whose functions keep the interpreter's lock, or why there is none.

    One that was made of other sources than lie beside it is none: a warning says so.

    Args:
        path: of the library.
        prefix: of its functions' names; `_version` and `_sources` are asked.
        version: that is wanted.
        what: it is, in words.
    """
    if not path.exists():
        return f"the compiled {what} is not there; {GET_COMPILER}"
    try:
        library = ctypes.PyDLL(str(path))
        found = int(library[f"{prefix}_version"]())
    except (OSError, AttributeError) as exc:
        return f"{path.name} cannot be loaded ({exc}); {GET_COMPILER}"
    if found != version:
        return f"{path.name} is of version {found}, not {version}; {GET_COMPILER}"
    beside = hash_of_sources(path.parent)
    if beside and _made_of(library, prefix) != beside:
        why = f"{path.name} was not made of the sources beside it"
        log.warning("%s, and is not used; install cascade-synthesis again", why)
        return f"{why}; {GET_COMPILER}"
    return library


def _made_of(library: ctypes.PyDLL, prefix: str) -> str:
    """The hash of the sources that a library was made of; "" where it does not know."""
    try:
        said = library[f"{prefix}_sources"]
    except AttributeError:
        return ""
    said.restype = ctypes.c_char_p
    found: bytes = said()
    return found.decode()
