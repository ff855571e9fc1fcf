"""The program `cascade` as it is typed, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = "from cascade_cli.program import main; main()"
CASCADE = (sys.executable, "-c", PROGRAM)
# The teacher of a server, its executors, and whoever loads beside processes that answer have the
# lowest priority, and rest after each piece of work. Beside programs that take every processor they
# would not be done in an hour. Where a test waits for them, and is not of their priorities, they
# are hardly less than others are: niceness still tells them apart.
EAGER = """
import os
from cascade_server.supervision import loading
nice = os.nice
os.nice = lambda more: nice(min(more, 1))
loading.yield_to_all = lambda thread=0: None
loading.SHARE = 0.5
"""
EAGER_CASCADE = (sys.executable, "-c", EAGER + PROGRAM)
# Longer than anything takes that ends by itself, beside programs that take every processor too.
SOON = 120.0


def typed(*words: str) -> subprocess.CompletedProcess[str]:
    """What it says, and how it ends."""
    return subprocess.run(
        [*CASCADE, *words], capture_output=True, text=True, timeout=SOON, check=False
    )
