"""Inputs that are kept: those that reach what others do not, and those that once were defects.

A file a target and kind, a line an input, in base64: they differ well, and merge by union. What
follows the input in its line says what it was.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

HERE = Path(__file__).parent
# What is worth reading again since it reaches what others do not, by chance; and defects of before.
CORPUS, FOUND = HERE / "corpus", HERE / "found"
# Of all of a target's kept inputs; the smallest are kept, so that thirty targets stay far below a
# megabyte.
MOST_KEPT_BYTES, MOST_KEPT = 16 * 1024, 96


def read(folder: Path, name: str) -> dict[bytes, str]:
    """The inputs of a target, each with what is said of it."""
    path = folder / f"{name}.txt"
    if not path.exists():
        return {}
    found = {}
    for line in path.read_text().splitlines():
        data, _, about = line.partition(" ")
        found[base64.b64decode(data.removeprefix("="), validate=True)] = about.strip()
    return found


def write(folder: Path, name: str, inputs: Mapping[bytes, str]) -> None:
    """Keep inputs, in an order that is the same for the same inputs."""
    folder.mkdir(exist_ok=True)
    lines = [f"{_line(data)} {about}".rstrip() for data, about in inputs.items()]
    (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in sorted(lines)))


def _line(data: bytes) -> str:
    # A line of no input at all would be an empty one.
    return base64.b64encode(data).decode() or "="


def kept(name: str) -> list[bytes]:
    """All that is kept of a target."""
    return [*read(CORPUS, name), *read(FOUND, name)]


def smallest(inputs: Iterable[bytes]) -> list[bytes]:
    """As many of the smallest as may be kept."""
    out, size = [], 0
    for each in sorted(set(inputs), key=lambda data: (len(data), data)):
        size += len(_line(each)) + 1
        if size > MOST_KEPT_BYTES or len(out) == MOST_KEPT:
            break
        out.append(each)
    return out


def short_name(data: bytes) -> str:
    """Of an input's file."""
    return hashlib.sha256(data).hexdigest()[:12]
