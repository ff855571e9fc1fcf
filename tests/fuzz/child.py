"""One target in a process of its own, which may crash, hang or be killed: what it did is in memory
that outlives it.

    python -m tests.fuzz.child TARGET FOLDER --seconds 60 [--driver coverage|changes]

`coverage` is atheris: libFuzzer, which keeps inputs that reach code which none reached before.
`changes` changes kept inputs by chance, and needs nothing.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import mmap
import os
import random
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.fuzz import inputs, sanitised
from tests.fuzz.changing import changed
from tests.fuzz.judging import MOST_GROWTH_BYTES, Bounds, Defect, judge, listening
from tests.fuzz.registry import TARGETS
from tests.fuzz.target import Target

# Of the memory in which the number of inputs stands, and the one that is being read.
NOTE_BYTES = 2**20
HEAD = struct.Struct("<QQ")
# Seconds after which libFuzzer, or the clock of `changes`, ends a process in which one input is
# still being read: five times what is a defect, on a machine that others use too.
HANG_SECONDS = 60
# Of the process, above which it is ended: what a leak comes to in the end.
MOST_MIB = 3072
# What grows in a target that is asked the same inputs again: passes, the first of which are to fill
# what is kept on purpose, and what may be more after the others.
PASSES, FIRST_PASSES, MOST_LEAKED = 40, 10, 6 * 2**20


class Note:
    """How many inputs were read, and which is being read, in a file that another process reads."""

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            file.truncate(NOTE_BYTES)
            self._map = mmap.mmap(file.fileno(), NOTE_BYTES)

    def begins(self, data: bytes) -> None:
        """An input is read now."""
        kept = data[: NOTE_BYTES - HEAD.size]
        self._map[HEAD.size : HEAD.size + len(kept)] = kept
        HEAD.pack_into(self._map, 0, self.count + 1, len(kept))

    @property
    def count(self) -> int:
        """Inputs so far."""
        return int(HEAD.unpack_from(self._map)[0])

    @property
    def current(self) -> bytes:
        """The last one."""
        size = HEAD.unpack_from(self._map)[1]
        return self._map[HEAD.size : HEAD.size + size]


class Reading:
    """Reads inputs of a target, and writes down what is a defect: the first of each kind.

    Args:
        target: whose.
        folder: for what is found: `found-*`, an input, and `found-*.txt`, what it did.
    """

    def __init__(self, target: Target, folder: Path) -> None:
        self._target, self._folder = target, folder
        self._run = target.opened()
        self._marks: set[str] = set()
        self.note = Note(folder / "note")
        # Sanitised code keeps what is free for a while, to find who uses it then, and is slow.
        hard = os.environ.get(sanitised.VARIABLE) is not None
        self._bounds = Bounds(None if hard else target.seconds, None if hard else MOST_GROWTH_BYTES)

    def read(self, data: bytes, taken: Callable[[], list[object]]) -> None:
        """Read one."""
        self.note.begins(data)
        try:
            judge(self._run, data, taken, self._bounds)  # type: ignore[arg-type]
        except Defect as exc:
            if exc.mark not in self._marks:
                self._marks.add(exc.mark)
                self._keep(data, exc)

    def _keep(self, data: bytes, defect: Defect) -> None:
        path = self._folder / f"found-{inputs.short_name(data)}"
        path.write_bytes(data)
        path.with_suffix(".txt").write_text(f"{defect.mark}\n{defect}")
        print(f"found: {self._target.name}: {defect.mark}", file=sys.stderr, flush=True)


def by_changes(target: Target, folder: Path, seconds: float, seed: int) -> None:
    """Read inputs that chance makes of those that are kept."""
    reading = Reading(target, folder)
    base = [*target.seeds(), *inputs.kept(target.name)]
    rng = random.Random(seed)
    ends = time.monotonic() + seconds
    with listening() as taken:
        for each in base:
            reading.read(each, taken)  # type: ignore[arg-type]
        while time.monotonic() < ends:
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            for _ in range(100):
                data = changed(rng.choice(base), rng, target.words, base, target.most_bytes)
                reading.read(data, taken)  # type: ignore[arg-type]
                if time.monotonic() > ends:
                    break
            faulthandler.cancel_dump_traceback_later()


def by_coverage(target: Target, folder: Path, seconds: float, seed: int) -> None:
    """Have libFuzzer change inputs, and keep those that reach more."""
    import atheris

    with atheris.instrument_imports(include=list(target.packages)):
        reading = Reading(target, folder)
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for each in (*target.seeds(), *inputs.kept(target.name)):
        (corpus / inputs.short_name(each)).write_bytes(each)
    words = folder / "words"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words)
    words.write_text("".join(f'"{word}"\n' for word in escaped))
    arguments = [
        sys.argv[0],
        str(corpus),
        f"-dict={words}",
        f"-max_len={target.most_bytes}",
        f"-max_total_time={max(1, int(seconds))}",
        f"-seed={seed}",
        f"-timeout={HANG_SECONDS}",
        f"-rss_limit_mb={MOST_MIB}",
        f"-artifact_prefix={folder}/crashed-",
        "-print_final_stats=0",
        "-verbosity=0",
        "-detect_leaks=0",
        "-len_control=20",
        "-reload=0",
    ]
    with listening() as taken:
        atheris.Setup(arguments, lambda data: reading.read(data, taken))
        atheris.Fuzz()


def smallest_that_reach(target: Target, folder: Path, seconds: float) -> None:
    """Choose of `corpus`, smallest first, what reaches lines that none before it reaches; in
    `least`."""
    run = target.opened()
    least = folder / "least"
    least.mkdir(exist_ok=True)
    some = {path.read_bytes() for path in (folder / "corpus").iterdir()} - set(target.seeds())
    ends = time.monotonic() + seconds
    seen: set[tuple[str, int, int]] = set()
    with listening() as taken:
        for data in (*target.seeds(), *sorted(some, key=lambda each: (len(each), each))):
            reached: set[tuple[str, int, int]] = set()
            with _tracing(reached), suppress(Defect):
                judge(run, data, taken, Bounds())
            if not reached <= seen and data in some:
                (least / inputs.short_name(data)).write_bytes(data)
            seen |= reached
            if time.monotonic() > ends:
                return


@contextmanager
def _tracing(reached: set[tuple[str, int, int]]) -> Iterator[None]:
    """Which lines of ours are followed by which."""

    def entered(frame: Any, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if "/cascade_" not in name:
            return None
        before = frame.f_lineno

        def stepped(frame: Any, event: str, _: Any) -> Any:
            nonlocal before
            reached.add((name, before, frame.f_lineno))
            before = frame.f_lineno
            return stepped

        return stepped

    sys.settrace(entered)
    try:
        yield
    finally:
        sys.settrace(None)


def leaks(target: Target, folder: Path) -> int:
    """Bytes that a target keeps of inputs that it has read before, again and again."""
    run = target.opened()
    rng = random.Random(0)
    base = [*target.seeds(), *inputs.kept(target.name)]
    some = rng.sample(base, min(len(base), 24))
    some += [changed(each, rng, target.words, base, target.most_bytes) for each in some]
    sizes = []
    with listening() as taken:
        for _ in range(PASSES):
            for each in some:
                try:
                    judge(run, each, taken, Bounds())
                except Defect:
                    continue
            gc.collect()
            sizes.append(_resident())
    grown = sizes[-1] - sizes[FIRST_PASSES]
    (folder / "leaks.json").write_text(json.dumps({"grown": grown, "inputs": len(some) * PASSES}))
    return grown


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--driver", choices=("coverage", "changes", "least", "leaks"))
    asked = parser.parse_args()
    faulthandler.enable()
    sanitised.install()
    asked.folder.mkdir(parents=True, exist_ok=True)
    target = TARGETS[asked.target]
    if asked.driver == "coverage":
        by_coverage(target, asked.folder, asked.seconds, asked.seed)
    elif asked.driver == "least":
        smallest_that_reach(target, asked.folder, asked.seconds)
    elif asked.driver == "leaks":
        leaks(target, asked.folder)
    else:
        by_changes(target, asked.folder, asked.seconds, asked.seed)


if __name__ == "__main__":
    main()
