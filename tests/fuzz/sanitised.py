"""The project's C code with AddressSanitizer and UndefinedBehaviorSanitizer in it.

What reads beyond an array by a few bytes does no visible harm; compiled with these it ends the
process and says where. The libraries go to a folder of their own and are loaded in place of those
that are installed, by the two variables below, so that nothing of the product knows of this.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "runs" / "fuzz" / "sanitised"
# Where a process finds them; see `install`.
VARIABLE = "CASCADE_FUZZ_LIBRARIES"
# -fsanitize=alignment is off: rows lie in messages wherever they lie, and are read by memcpy or by
# instructions that do not mind. Kept short: what is in the way of a trace is left out.
SANITIZE = ("-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined",
            "-fno-sanitize-recover=all")  # fmt: skip
# Clang's tell libFuzzer which parts of the C code an input has reached.
COVERED = ("-fsanitize=fuzzer-no-link",)


@cache
def clang() -> str | None:
    """The compiler whose code libFuzzer watches; None: it is not here."""
    found = [shutil.which(name) for name in ("clang", "clang-14", "clang-16", "clang-19")]
    return next(filter(None, found), None)


@cache
def gcc_runtime() -> str | None:
    """GCC's AddressSanitizer, to be loaded first; None: there is no GCC, or none of it."""
    if shutil.which("gcc") is None:
        return None
    asked = ["gcc", "-print-file-name=libasan.so"]
    path = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    # A linker script on some systems: what it leads to is next to it.
    return str(Path(path).resolve()) if os.path.isabs(path) else None


def atheris_runtime() -> str | None:
    """AddressSanitizer with libFuzzer in it, as atheris brings it; None: it is not installed."""
    spec = find_spec("atheris")
    if spec is None or spec.origin is None or clang() is None:
        return None
    path = Path(spec.origin).parents[1] / "asan_with_fuzzer.so"
    return str(path) if path.exists() else None


def available() -> str:
    """The driver that can run sanitised code here: "coverage", "changes", or "": none."""
    if atheris_runtime() is not None:
        return "coverage"
    return "changes" if gcc_runtime() is not None else ""


def plain() -> dict[str, str]:
    """The environment of a process that runs the installed libraries."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def environment(by_coverage: bool) -> dict[str, str]:
    """That of a process that runs sanitised ones, which are built if they are not there.

    Raises:
        RuntimeError: they cannot be built here.
    """
    runtime = atheris_runtime() if by_coverage else gcc_runtime()
    if runtime is None:
        raise RuntimeError("neither GCC with AddressSanitizer nor clang and atheris are here")
    folder = build(by_coverage)
    return {
        **plain(),
        VARIABLE: str(folder),
        "LD_PRELOAD": runtime,
        # Python itself keeps what it has allocated until it ends.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1"
        ":symbolize=1:handle_segv=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        # Python's own allocator hands out parts of large pieces, of which the sanitizer sees none.
        "PYTHONMALLOC": "malloc",
    }


def build(by_coverage: bool) -> Path:
    """Compile the libraries; where they are.

    Raises:
        RuntimeError: they cannot be compiled.
    """
    sys.path.insert(0, str(ROOT))
    from hatch_build import CODEC, STUDENT, hash_of_sources

    digests = [hash_of_sources((ROOT / each.source).parent)[:8] for each in (CODEC, STUDENT)]
    kind = "clang" if by_coverage else "gcc"
    folder = FOLDER / f"{kind}-{'-'.join(digests)}"
    folder.mkdir(parents=True, exist_ok=True)
    compiler = (clang() or "clang", *SANITIZE, *COVERED) if by_coverage else ("gcc", *SANITIZE)
    for each in (CODEC, STUDENT):
        library = folder / each.library.name
        if library.exists():
            continue
        fresh = library.with_suffix(f".{os.getpid()}.new")
        sources = f'-DSOURCES="{hash_of_sources((ROOT / each.source).parent)}"'
        command = [
            *compiler, "-std=gnu11", "-fno-math-errno", "-fPIC", "-shared", *each.flags, sources,
            "-o", str(fresh), str(ROOT / each.source), "-lm",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[:2000]}")
        fresh.replace(library)
    return folder


def install() -> None:
    """Have this process load the sanitised libraries, if it was told to."""
    folder = os.environ.get(VARIABLE)
    if folder is None:
        return
    from cascade_server.engines.native import library as student
    from cascade_tables.codecs.native import library as codec

    for module in (student, codec):
        load, path = module.load_library, Path(folder) / module.PATH.name
        assert not isinstance(load(path), str), load(path)
        # Functions that have imported it by name call this one, of which an argument is given.
        load.__wrapped__.__defaults__ = (path,)
        load.cache_clear()
