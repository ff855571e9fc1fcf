"""The page's files, read once; browsers get nothing else from this folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    "": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class Asset:
    """One file.

    Attributes:
        content, kind: the file's bytes and media type.
        tag: changes with the content; formatted as an ETag, in quotes.
    """

    content: bytes
    kind: str
    tag: str


def load_assets(folder: Path = FOLDER) -> dict[str, Asset]:
    """Return all files to serve, by URL path; "/" is the page itself."""
    found: dict[str, Asset] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in KINDS and "__pycache__" not in path.parts:
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
            asset = Asset(content, KINDS[path.suffix], tag)
            found[f"/{path.relative_to(folder).as_posix()}"] = asset
    found["/"] = found.pop("/index.html")
    return found
