"""Environments of their own for packages that cannot live in this project's."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path


class NotInstalled(Exception):
    """A package cannot be had; says what pip said."""


def environment(*packages: str) -> Path:
    """An environment with some packages; made on first use, in the cache directory.

    Args:
        packages: pinned, as constraints.txt pins everything else; the first gives it its name.

    Returns:
        Its folder.

    Raises:
        NotInstalled: pip could not install them.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cascade"
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(" ".join((python, *packages)).encode()).hexdigest()[:12]
    folder = cache / f"{packages[0].partition('[')[0].partition('=')[0]}-{python}-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    # Processes that want the same one: the first makes it, and the others wait.
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "done").exists():
            return folder
        print(f"making an environment with {packages[0]} in {folder}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        # Of what is installed, little is ever imported: that is compiled when it is.
        pip += ["--no-compile", *packages]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotInstalled(f"{packages[0]} cannot be installed: {done.stderr.strip()[-500:]}")
        (folder / "done").touch()
        return folder
