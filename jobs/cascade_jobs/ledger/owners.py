"""Owners of leases and their liveness: each holds a lock that the kernel releases when it ends.

A lease's expiry bounds the wait for its owner. For an owner on this machine no wait is needed: a
killed process loses its locks at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
from pathlib import Path
from typing import IO

_SUFFIX = ".lock"
# Content of the lock file of an owner that was ended on purpose.
_DISMISSED = "dismissed"


class Owner:
    """This process's name in the ledger, held until `leave`, or until the process ends.

    Args:
        folder: of the lock files of one ledger's owners.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._dismissed = set[str]()
        self.name = f"{_of_process(os.getpid())}{secrets.token_hex(4)}"
        self._path = folder / (self.name + _SUFFIX)
        self._file: IO[str] = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_gone(self, name: str) -> bool:
        """Return whether another owner is known to have ended; False for owners on other
        machines.
        """
        if name == self.name or not name.startswith(_machine() + "-"):
            return False
        path = self._folder / (name + _SUFFIX)
        try:
            with path.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if file.read() == _DISMISSED:
                    self._dismissed.add(name)
                # Names are never reused, so the file is no longer needed.
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def was_dismissed(self, name: str) -> bool:
        """Return whether another owner was ended on purpose; see `dismiss`."""
        if name in self._dismissed:
            return True
        try:
            return (self._folder / (name + _SUFFIX)).read_text() == _DISMISSED
        except OSError:
            return False

    def leave(self) -> None:
        """Give up the name and its lock."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._file.close()


def dismiss(folder: Path, process: int) -> None:
    """Record that a process of this machine is about to be ended on purpose, so that it does not
    count as crashed.

    Args:
        folder: as for `Owner`.
        process: its process id.
    """
    # Without the record, the process only counts as crashed.
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name.startswith(_of_process(process)):
                path.write_text(_DISMISSED)


def _of_process(number: int) -> str:
    return f"{_machine()}-{number}-"


def _machine() -> str:
    return socket.gethostname().replace("/", "_")[:64]
