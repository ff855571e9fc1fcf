"""What has been computed, kept in a folder, so that a run which is cut off goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Partial:
    """Arrays and numbers by name, of runs with the same settings.

    Args:
        folder: made if it is not there; other settings have another folder inside.
        settings: all that the results follow from.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        text = json.dumps(settings, sort_keys=True, default=str)
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:12]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "settings.json").write_text(text)

    def array(self, name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """What is kept under a name; made and kept if nothing is."""
        path = self.folder / f"{name}.npy"
        if not path.exists():
            unfinished = path.with_suffix(".tmp")
            with unfinished.open("wb") as file:
                np.save(file, make())
            os.replace(unfinished, path)
        found: NDArray[Any] = np.load(path)
        return found

    def value(self, name: str, make: Callable[[], float]) -> float:
        """A number that was kept under this name, or else is made now and kept."""
        return float(self.array(name, lambda: np.array(make())))
