"""Who makes files, and whether they still live: each holds a lock that the kernel takes from it.

A lease says until when its owner may be waited for. For an owner of this machine there is no need
to wait: a process that is killed, however suddenly, loses its locks.
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
# What is in the lock of one that was ended on purpose.
_DISMISSED = "dismissed"


class Owner:
    """This process's name in the ledger; it is held until `leave`, or until the process ends.

    Args:
        folder: where owners of one ledger hold their locks.
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
        """Whether another owner is known to be no more; of other machines nothing is known."""
        if name == self.name or not name.startswith(_machine() + "-"):
            return False
        path = self._folder / (name + _SUFFIX)
        try:
            with path.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if file.read() == _DISMISSED:
                    self._dismissed.add(name)
                # Nobody takes the name again, so that the file is of no more use.
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def was_dismissed(self, name: str) -> bool:
        """Whether another owner was ended on purpose; see `dismiss`."""
        if name in self._dismissed:
            return True
        try:
            return (self._folder / (name + _SUFFIX)).read_text() == _DISMISSED
        except OSError:
            return False

    def leave(self) -> None:
        """Be no owner any more."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._file.close()


def dismiss(folder: Path, process: int) -> None:
    """Write down that a process of this machine is about to be ended on purpose, so that nobody
    takes it for one that came to grief.

    Args:
        folder: as of `Owner`.
        process: its number.
    """
    # What cannot be written down is counted as if the process had ended by itself, no more.
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name.startswith(_of_process(process)):
                path.write_text(_DISMISSED)


def _of_process(number: int) -> str:
    return f"{_machine()}-{number}-"


def _machine() -> str:
    return socket.gethostname().replace("/", "_")[:64]
