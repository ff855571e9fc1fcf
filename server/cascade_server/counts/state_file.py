"""The ledger's counters in a file, so that error budgets outlive the process.

The file is one JSON document. The cells of each ring are little-endian int64, compressed by zlib
(whose checksum detects damage) and encoded in base64. The file is replaced as a whole or not at
all: written to another name, flushed to disk, renamed.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import json
import logging
import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cascade_server import state_folder
from cascade_server.counts.shared.tally import Counts
from cascade_server.counts.usage import Usage
from cascade_server.errors import ConfigError

log = logging.getLogger("cascade.server")

FORMAT = 1
NAME, LOCK = "ledger.json", "ledger.lock"
# More than any window and resolution need.
MOST_STEP, MOST_CELLS = 366 * 86_400, 10**7


class StateDamaged(ValueError):
    """The content of a state file is not what was written."""


@dataclass(frozen=True)
class Cells:
    """One ring.

    Attributes:
        step: seconds of a cell.
        newest: the multiple of `step` at which the last cell begins.
        counts: int64 [cells, 2 * objectives], total and good of each.
    """

    step: int
    newest: int
    counts: Counts


@dataclass(frozen=True)
class State:
    """The counts of a ledger.

    Attributes:
        since: when counting began, Unix seconds.
        names: names of the objectives, in the order of their counters.
        rings: one ring for each resolution.
        usage: what was computed, and for whom; None if an earlier server did not count it.
    """

    since: float
    names: tuple[str, ...]
    rings: tuple[Cells, ...]
    usage: Usage | None = None


def encode(state: State) -> bytes:
    """Return the content of a state file, which `decode` reads."""
    document = {
        "format": FORMAT,
        "since": state.since,
        "objectives": state.names,
        "rings": [
            {
                "step": ring.step,
                "newest": ring.newest,
                "cells": len(ring.counts),
                "counts": base64.b64encode(
                    zlib.compress(ring.counts.astype("<i8").tobytes(), 1)
                ).decode("ascii"),
            }
            for ring in state.rings
        ],
    }
    if state.usage is not None:
        document["usage"] = state.usage.as_document()
    return json.dumps(document, indent=1).encode() + b"\n"


def decode(content: bytes) -> State:
    """Return the argument of `encode`.

    Raises:
        StateDamaged: the content is damaged; says how that shows.
    """
    try:
        document = json.loads(content)
        if document["format"] != FORMAT:
            raise StateDamaged(f"format is {document['format']!r}; {FORMAT} is known")
        since, names = float(document["since"]), tuple(document["objectives"])
        if not math.isfinite(since) or not all(isinstance(name, str) for name in names):
            raise StateDamaged("since or objectives is not what it should be")
        rings = tuple(_ring(each, len(names)) for each in document["rings"])
        usage = Usage.from_document(document["usage"]) if "usage" in document else None
        return State(since, names, rings, usage)
    except StateDamaged:
        raise
    except KeyError as exc:
        raise StateDamaged(f"{exc.args[0]!r} is missing") from exc
    except RecursionError as exc:
        raise StateDamaged("it is nested too deeply") from exc
    except (
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
        zlib.error,
        binascii.Error,
    ) as exc:
        raise StateDamaged(str(exc)) from exc


def _ring(document: Any, objectives: int) -> Cells:
    step, newest, cells = (int(document[key]) for key in ("step", "newest", "cells"))
    for name, value, most in (
        ("step", step, MOST_STEP),
        ("cells", cells, MOST_CELLS),
        ("newest", newest, 2**53),
    ):
        if not 0 <= value <= most:
            raise StateDamaged(f"{name} of a ring is {value}; allowed: 0 to {most}")
    # Inflate no more than the announced counts, however large the data would become.
    inflating = zlib.decompressobj()
    packed = base64.b64decode(document["counts"], validate=True)
    content = inflating.decompress(packed, 16 * cells * objectives + 1)
    if not inflating.eof:
        raise StateDamaged("the counts of a ring are cut off, or more than its cells")
    counts = np.frombuffer(content, "<i8").reshape(cells, 2 * objectives).astype(np.int64)
    if (counts < 0).any() or (counts[:, 1::2] > counts[:, ::2]).any():
        raise StateDamaged("there are more good events than events")
    return Cells(step, newest, counts)


def rearranged(ring: Cells, names: Sequence[str], wanted: Sequence[str], cells: int) -> Counts:
    """Return a ring's counts for other objectives and another length: int64 [cells, 2 * wanted].

    New objectives start at zero; removed ones are dropped, and so is what is older than the new
    length.
    """
    out = np.zeros((cells, 2 * len(wanted)), np.int64)
    kept = min(cells, len(ring.counts))
    places = {name: number for number, name in enumerate(names)}
    for number, name in enumerate(wanted):
        if name in places:
            columns = slice(2 * places[name], 2 * places[name] + 2)
            out[cells - kept :, 2 * number : 2 * number + 2] = ring.counts[-kept:, columns]
    return out


class StateFile:
    """The state of one server in a folder of its own.

    If the folder is read-only or full, it is read but not written to: a server's answers are worth
    more than error budgets that outlive the process.

    Attributes:
        path: the file.
        is_read_only: whether nothing can be saved, which has been logged.

    Raises:
        ConfigError: the path cannot be a folder, or another server is using it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.is_read_only = False
        try:
            self._lock = self._opened(folder)
        except OSError as exc:
            raise ConfigError(f"state_dir {folder} cannot be used: {exc.strerror}") from exc
        if self._lock is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(self._lock)
            raise ConfigError(
                f"state_dir {folder} is in use by another server; each needs a folder of its own"
            ) from exc
        except OSError as exc:
            os.close(self._lock)
            raise ConfigError(
                f"state_dir {folder} cannot be locked ({exc.strerror}); allowed: a folder of a "
                "file system that has locks (flock), which some network file systems have not"
            ) from exc

    def _opened(self, folder: Path) -> int | None:
        """Return the lock's file; None if there is none and none can be created.

        Raises:
            OSError: the path is not a folder.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o644)
        except OSError as exc:
            if exc.errno not in state_folder.READ_ONLY:
                raise
            self.is_read_only = True
            log.error(
                "state_dir %s cannot be written to (%s): error budgets, and what is asked of the "
                "releases, are not kept over a restart",
                folder,
                exc.strerror,
            )
        with contextlib.suppress(OSError):
            return os.open(folder / LOCK, os.O_RDONLY | os.O_NONBLOCK)
        return None

    def load(self) -> State | None:
        """Load what was last saved; None if there is nothing. Damage is logged and set aside."""
        return state_folder.load(self.path, decode, "error budgets start anew")

    def save(self, state: State) -> None:
        """Replace the file; it waits for the disk, so do not call it from the event loop.

        Raises:
            OSError: saving failed; the old file is still there.
        """
        state_folder.save(self.path, encode(state))

    def close(self) -> None:
        """Release the folder for another server."""
        if self._lock is not None:
            os.close(self._lock)
