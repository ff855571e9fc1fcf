"""Builds the compiled student with the package, where there is a C compiler.

The library has nothing of Python in it (server/cascade_server/engines/native), so that one compiler
call makes it, and no headers or tools of Python's are needed. Without a compiler the package is
Python only, and ONNX Runtime draws what the library would have drawn.

    CASCADE_NATIVE=require pip install .   fails where it cannot be built, as images want it
    CASCADE_NATIVE=skip pip install .      does not build it
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("server/cascade_server/engines/native")
SOURCE, LIBRARY = FOLDER / "student_walk.c", FOLDER / "_student_walk.so"
FLAGS = ["-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared"]
CHOICES = ("", "require", "skip")


def compiler() -> list[str] | None:
    """$CC, or the first of the usual ones that is there; None: there is none."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    found = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    return None if found is None else [found]


def build(root: Path) -> str:
    """Compile the library into the source tree; why it could not be, or "".

    It is written beside and moved into its place: a server that has the old one loaded keeps it.
    """
    command = compiler()
    if command is None:
        return "there is no C compiler (cc, gcc, clang or $CC)"
    fresh = root / LIBRARY.with_suffix(f".{os.getpid()}.new")
    try:
        subprocess.run(
            [*command, *FLAGS, "-o", str(fresh), str(root / SOURCE), "-lm"],
            check=True,
            capture_output=True,
            text=True,
        )
        fresh.replace(root / LIBRARY)
    except (OSError, subprocess.CalledProcessError) as exc:
        said = getattr(exc, "stderr", "") or str(exc)
        return f"{shlex.join(command)} failed: {said.strip()[:2000]}"
    finally:
        fresh.unlink(missing_ok=True)
    return ""


class NativeBuildHook(BuildHookInterface[Any]):
    """Compiles the library, and says so in the wheel's name."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        wanted = os.environ.get("CASCADE_NATIVE", "")
        if wanted not in CHOICES:
            raise ValueError(f"CASCADE_NATIVE is {wanted!r}; allowed: require, skip, or unset")
        root = Path(self.root)
        if wanted == "skip":
            (root / LIBRARY).unlink(missing_ok=True)
            return
        failed = build(root)
        if failed and wanted == "require":
            raise RuntimeError(f"the compiled student cannot be built: {failed}")
        if failed:
            (root / LIBRARY).unlink(missing_ok=True)
            self.app.display_warning(f"without the compiled student: {failed}")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["artifacts"].append(f"/{LIBRARY.as_posix()}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
