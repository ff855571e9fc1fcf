"""What is wanted of the releases, kept over a restart: `releases.json` in the state directory."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from cascade_server.releases.policy import Desired

log = logging.getLogger("cascade.server")

NAME, FORMAT = "releases.json", 1


class DesiredFile:
    """The file; nothing is kept where there is no folder.

    Args:
        folder: the state directory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / NAME

    def restored(self, desired: Desired) -> Desired:
        """With what an earlier server was asked for; one that is damaged is set aside."""
        if self._path is None or not self._path.exists():
            return desired
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            return desired.restored(content["tables"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            aside = self._path.with_suffix(".damaged")
            os.replace(self._path, aside)
            log.error("%s is damaged and was set aside as %s: %r", self._path, aside.name, exc)
            return desired

    def save(self, desired: Desired) -> None:
        """Replace the file, whole; what cannot be written is reported."""
        if self._path is None:
            return
        content = json.dumps({"format": FORMAT, "tables": desired.to_dict()}, indent=2)
        beside = self._path.with_suffix(".tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("w", encoding="utf-8") as file:
                file.write(content + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self._path)
        except OSError as exc:
            log.error("%s cannot be written: %s", self._path, exc.strerror)
