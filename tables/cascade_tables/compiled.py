"""Compiled libraries beside their sources: which are used, and why others are not.

A library that was left behind when its sources were edited or replaced would be loaded and run
outdated code. `hatch_build.py` compiles a hash of the sources into the library, and `load` compares
it with the sources beside it. Both read this file; it imports nothing from the package, which does
not exist yet at build time.
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

# Over writable memory, such as an array's or a bytearray's, it is passed to a function as the
# memory's address. numpy's `ctypes.data` takes four times as long.
Argument: Any = ctypes.c_char * 0


def hash_of_sources(folder: Path) -> str:
    """Return the SHA-256 in hex of the C sources and headers in a folder; "" if it has none."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".c", ".h"))
    if not paths:
        return ""
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def load(path: Path, prefix: str, version: int, what: str) -> ctypes.PyDLL | str:
    """Load a library whose functions do not release the GIL, or return why there is none.

    A library built from other sources than those beside it is not used: a warning says so.

    Args:
        path: of the library.
        prefix: of its functions' names; `_version` and `_sources` are called.
        version: the required version.
        what: description of the library.
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
    """Return the hash of the sources that a library was built from; "" if it has none."""
    try:
        said = library[f"{prefix}_sources"]
    except AttributeError:
        return ""
    said.restype = ctypes.c_char_p
    found: bytes = said()
    return found.decode()
