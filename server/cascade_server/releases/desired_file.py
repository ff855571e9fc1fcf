"""Keeps the desired releases over a restart: `releases.json` in the state directory."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from cascade_server import state_folder
from cascade_server.releases.policy import Desired

log = logging.getLogger("cascade.server")

NAME, FORMAT = "releases.json", 1


class DesiredFile:
    """The file; nothing is kept if there is no folder.

    Args:
        folder: the state directory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / NAME

    def restored(self, desired: Desired) -> Desired:
        """Return `desired` with an earlier server's changes; a damaged file is set aside."""
        if self._path is None:
            return desired

        def decode(content: bytes) -> Desired:
            document = json.loads(content)
            if document["format"] != FORMAT:
                raise ValueError(f"format is {document['format']!r}; {FORMAT} is known")
            return desired.restored(document["tables"])

        without = "what was asked of the releases is forgotten"
        return state_folder.load(self._path, decode, without) or desired

    def save(self, desired: Desired) -> None:
        """Replace the file as a whole; a failure is logged."""
        if self._path is None:
            return
        content = json.dumps({"format": FORMAT, "tables": desired.to_dict()}, indent=2)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            state_folder.save(self._path, content.encode() + b"\n")
        except OSError as exc:
            log.error("%s cannot be written: %s", self._path, exc.strerror)
