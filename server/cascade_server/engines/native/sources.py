"""Of which sources the compiled library was made: a hash that is compiled into it.

A library that stays behind when its sources are edited, or replaced by those of another version,
would be loaded and draw as it always did. `hatch_build.py` compiles the hash of what it compiles,
and `library` compares it with what lies beside the library. Both read this file: it imports
nothing of the package, which is not there yet when it is built.
"""

from __future__ import annotations

import hashlib
from pathlib import Path


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
