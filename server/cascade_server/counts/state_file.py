"""The ledger's counters in a file, so that error budgets outlive the process.

One JSON document; the cells of each ring are little-endian int64, zlib-compressed (whose checksum
finds damage) and in base64. It is replaced whole or not at all: written beside, flushed to the
disk, renamed.
"""

from __future__ import annotations

import base64
import binascii
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

from cascade_server.counts.tally import Counts
from cascade_server.errors import ConfigError

log = logging.getLogger("cascade.server")

FORMAT = 1
NAME, LOCK = "ledger.json", "ledger.lock"


class StateDamaged(ValueError):
    """A state file is not what was written."""


@dataclass(frozen=True)
class Cells:
    """One ring.

    Attributes:
        step: seconds of a cell.
        newest: which multiple of it the last cell begins at.
        counts: int64 [cells, 2 * objectives], total and good of each.
    """

    step: int
    newest: int
    counts: Counts


@dataclass(frozen=True)
class State:
    """What a ledger has counted.

    Attributes:
        since: when counting began, Unix seconds.
        names: of the objectives, in the order of their counters.
        rings: of each resolution.
    """

    since: float
    names: tuple[str, ...]
    rings: tuple[Cells, ...]


def encode(state: State) -> bytes:
    """The file's content."""
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
    return json.dumps(document, indent=1).encode() + b"\n"


def decode(content: bytes) -> State:
    """What `encode` was given.

    Raises:
        StateDamaged: it was not; says how it can be seen.
    """
    try:
        document = json.loads(content)
        if document["format"] != FORMAT:
            raise StateDamaged(f"format is {document['format']!r}; {FORMAT} is known")
        since, names = float(document["since"]), tuple(document["objectives"])
        if not math.isfinite(since) or not all(isinstance(name, str) for name in names):
            raise StateDamaged("since or objectives is not what it should be")
        return State(since, names, tuple(_ring(each, len(names)) for each in document["rings"]))
    except StateDamaged:
        raise
    except KeyError as exc:
        raise StateDamaged(f"{exc.args[0]!r} is missing") from exc
    except (ValueError, TypeError, OverflowError, zlib.error, binascii.Error) as exc:
        raise StateDamaged(str(exc)) from exc


def _ring(document: Any, objectives: int) -> Cells:
    step, newest, cells = (int(document[key]) for key in ("step", "newest", "cells"))
    content = zlib.decompress(base64.b64decode(document["counts"], validate=True))
    counts = np.frombuffer(content, "<i8").reshape(cells, 2 * objectives).astype(np.int64)
    if (counts < 0).any() or (counts[:, 1::2] > counts[:, ::2]).any():
        raise StateDamaged("there are more good events than events")
    return Cells(step, newest, counts)


def rearranged(ring: Cells, names: Sequence[str], wanted: Sequence[str], cells: int) -> Counts:
    """A ring's counts for other objectives and another length: int64 [cells, 2 * wanted].

    Objectives that are new have counted nothing, those that are gone are forgotten, and so is what
    is older than the new length.
    """
    out = np.zeros((cells, 2 * len(wanted)), np.int64)
    kept = min(cells, len(ring.counts))
    at = {name: number for number, name in enumerate(names)}
    for number, name in enumerate(wanted):
        if name in at:
            columns = slice(2 * at[name], 2 * at[name] + 2)
            out[cells - kept :, 2 * number : 2 * number + 2] = ring.counts[-kept:, columns]
    return out


class StateFile:
    """The state of one server in a folder of its own.

    Raises:
        ConfigError: the folder cannot be written to, or another server is using it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as exc:
            raise ConfigError(f"state_dir {folder} cannot be written to: {exc.strerror}") from exc
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(self._lock)
            raise ConfigError(
                f"state_dir {folder} is in use by another server; each needs a folder of its own"
            ) from exc

    def load(self) -> State | None:
        """What was last saved; None: nothing, or nothing whole, which is reported and set aside."""
        try:
            return decode(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise ConfigError(f"{self.path} cannot be read: {exc.strerror}") from exc
        except StateDamaged as exc:
            aside = self._set_aside()
            log.warning(
                "%s is damaged (%s); error budgets start anew, and it is kept as %s",
                self.path,
                exc,
                aside.name,
            )
            return None

    def _set_aside(self) -> Path:
        number = 1
        while (aside := self.path.with_name(f"{NAME}.damaged-{number}")).exists():
            number += 1
        self.path.rename(aside)
        return aside

    def save(self, state: State) -> None:
        """Replace the file; not from the event loop, for it waits for the disk.

        Raises:
            OSError: the old file is still there.
        """
        beside = self.path.with_suffix(".tmp")
        with beside.open("wb") as file:
            file.write(encode(state))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Let another server have the folder."""
        os.close(self._lock)
