"""The program `cascade` as it is typed, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

CASCADE = (sys.executable, "-c", "from cascade_cli.program import main; main()")
# Longer than anything takes that ends by itself.
SOON = 60.0


def typed(*words: str) -> subprocess.CompletedProcess[str]:
    """What it says, and how it ends."""
    return subprocess.run(
        [*CASCADE, *words], capture_output=True, text=True, timeout=SOON, check=False
    )
