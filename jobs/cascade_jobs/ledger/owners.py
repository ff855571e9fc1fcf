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


class Owner:
    """This process's name in the ledger; it is held until `leave`, or until the process ends.

    Args:
        folder: where owners of one ledger hold their locks.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.name = f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
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
                # Nobody takes the name again, so that the file is of no more use.
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def leave(self) -> None:
        """Be no owner any more."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._file.close()


def _machine() -> str:
    return socket.gethostname().replace("/", "_")[:64]
