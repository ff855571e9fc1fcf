"""What takes long to make, made once for all processes that run tests."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[], bytes]) -> bytes:
    """What the first process to ask has made; the others wait for it.

    Args:
        factory: of pytest; each process that runs tests has a folder of its own in the run's.
        name: of what is made, in this run of tests.
        make: makes it.
    """
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path = folder / f"once-{name}"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            made = make()
            staged = path.with_suffix(".staged")
            staged.write_bytes(made)
            staged.rename(path)
        return path.read_bytes()
