"""Builds the compiled student and codec with the package, where there is a C compiler.

The libraries have nothing of Python in them, so that one compiler call makes each, and no headers
or tools of Python's are needed. Without a compiler the package is Python only: ONNX Runtime draws
what the student (server/cascade_server/engines/native) would have drawn, and Python reads and
writes what the codec (tables/cascade_tables/codecs/native) would have.

    CASCADE_NATIVE=require pip install .   fails where it cannot be built, as images want it
    CASCADE_NATIVE=skip pip install .      does not build it
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HASHING = Path("tables/cascade_tables/compiled.py")
FLAGS = ["-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared"]
CHOICES = ("", "require", "skip")


def hash_of_sources(folder: Path) -> str:
    """What the package says of these sources, which cannot be imported before it is built."""
    spec = importlib.util.spec_from_file_location("compiled", Path(__file__).parent / HASHING)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: str = module.hash_of_sources(folder)
    return found


class Compiled(NamedTuple):
    """A library.

    Attributes:
        source, library: what is compiled, and where it is put; from the root of the tree.
        flags: beside those of all.
    """

    source: Path
    library: Path
    flags: tuple[str, ...] = ()

    @property
    def installed(self) -> str:
        """The library from where packages are installed."""
        return Path(*self.library.parts[1:]).as_posix()


STUDENT_FOLDER = Path("server/cascade_server/engines/native")
CODEC_FOLDER = Path("tables/cascade_tables/codecs/native")
STUDENT = Compiled(STUDENT_FOLDER / "student_walk.c", STUDENT_FOLDER / "_student_walk.so")
# A product and a sum are rounded one after the other, as Python does it.
CODEC = Compiled(
    CODEC_FOLDER / "row_codec.c", CODEC_FOLDER / "_row_codec.so", ("-ffp-contract=off",)
)


def compiler() -> list[str] | None:
    """$CC, or the first of the usual ones that is there; None: there is none."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    found = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    return None if found is None else [found]


def build(compiled: Compiled, root: Path, library: Path | None = None) -> str:
    """Compile a library; why it could not be, or "".

    It is written beside and moved into its place: a server that has the old one loaded keeps it.

    Args:
        compiled: which.
        root: of the tree.
        library: where it is put; None: in the tree.
    """
    command = compiler()
    if command is None:
        return "there is no C compiler (cc, gcc, clang or $CC)"
    library = library or root / compiled.library
    fresh = library.with_suffix(f".{os.getpid()}.new")
    sources = f'-DSOURCES="{hash_of_sources((root / compiled.source).parent)}"'
    try:
        subprocess.run(
            [
                *command,
                *FLAGS,
                *compiled.flags,
                sources,
                "-o",
                str(fresh),
                str(root / compiled.source),
                "-lm",
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        fresh.replace(library)
    except (OSError, subprocess.CalledProcessError) as exc:
        said = getattr(exc, "stderr", "") or str(exc)
        return f"{shlex.join(command)} failed: {said.strip()[:2000]}"
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()
    return ""


class NativeBuildHook(BuildHookInterface[Any]):
    """Compiles the libraries: into the source tree for an editable installation, which runs from
    there, and beside it for a wheel, so that neither undoes the other and the tree may be one that
    cannot be written to."""

    _folder: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        wanted = os.environ.get("CASCADE_NATIVE", "")
        if wanted not in CHOICES:
            raise ValueError(f"CASCADE_NATIVE is {wanted!r}; allowed: require, skip, or unset")
        root = Path(self.root)
        editable = version == "editable"
        if editable:
            # What is there is of another source, or another wish.
            for each in (STUDENT, CODEC):
                with contextlib.suppress(OSError):
                    (root / each.library).unlink()
        if wanted == "skip":
            return
        self._folder = tempfile.TemporaryDirectory()
        built = False
        for each in (STUDENT, CODEC):
            library = (
                root / each.library if editable else Path(self._folder.name) / each.library.name
            )
            failed = build(each, root, library)
            if failed and wanted == "require":
                raise RuntimeError(f"{each.library.name} cannot be built: {failed}")
            if failed:
                self.app.display_warning(f"without {each.library.name}: {failed}")
                continue
            built = True
            if not editable:
                build_data["force_include"][str(library)] = each.installed
        if not built:
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Leave nothing behind: what was compiled for a wheel is in it."""
        if self._folder is not None:
            self._folder.cleanup()
