"""The audit log: one entry a line, and after each a checkpoint: how many there are, and their root.

An entry is on the disk before anybody acts on it. Where it or its checkpoint cannot be written,
both files are cut to what they were. Who is killed while writing leaves a line without an end,
which nobody was told of; the next entry takes its place. Who is killed between an entry and its
checkpoint leaves one entry without; whoever writes next adds the checkpoint first, so that two such
entries are somebody else's work. Processes take turns by a lock that the kernel takes from whoever
ends.

A log that is not what its last checkpoint says takes no more entries: what cannot be written down
is not to happen, and a log that went on would hide what became of it.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeGuard

from cascade_jobs.audit.merkle import Frontier, leaf_hash
from cascade_jobs.errors import AuditRefused

# In a server's state folder.
FOLDER = "audit"
LOG, CHECKPOINTS = "audit.log", "audit.checkpoints"
# Numbers that any reader of JSON holds exactly; no log comes to so many.
MOST_ENTRIES = 2**53
TOO_DEEP = "it is nested too deeply"


@dataclass(frozen=True)
class Checkpoint:
    """What a log was at one time.

    Attributes:
        size: its entries.
        root: of the tree over them, in hexadecimal digits.
        time: seconds since 1970-01-01 UTC.
    """

    size: int
    root: str
    time: float = 0.0

    def to_line(self) -> bytes:
        """The checkpoint as a line of JSON, with its end; `of_line` reads it again."""
        return to_line({"size": self.size, "root": self.root, "time": self.time})

    @classmethod
    def of_line(cls, line: bytes) -> Checkpoint:
        """What `to_line` gave.

        Raises:
            ValueError: it is none.
        """
        try:
            content = json.loads(line)
        except RecursionError:
            raise ValueError(TOO_DEEP) from None
        if not isinstance(content, dict) or not is_place(content.get("size")):
            raise ValueError(f"it has no size, a whole number from 0 to {MOST_ENTRIES:,}")
        root = content.get("root")
        if not isinstance(root, str) or len(root) != 64 or bytes.fromhex(root).hex() != root:
            raise ValueError("its root is no SHA-256 in hexadecimal digits")
        time = content.get("time", 0)
        if type(time) not in (int, float) or not abs(time) <= sys.float_info.max:
            raise ValueError("its time is no number")
        return cls(content["size"], root, float(time))


def is_place(value: Any) -> TypeGuard[int]:
    """Whether a value can be an entry's place, or how many there are."""
    return type(value) is int and 0 <= value <= MOST_ENTRIES


class AuditLog:
    """The log of one folder; of one thread at a time, and of any number of processes.

    Args:
        folder: of the log; it is made with the first entry.
        clock: seconds since 1970-01-01 UTC.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = folder, clock
        # What was read of the log before: up to which byte, and the tree over it.
        self._offset, self._tree = 0, Frontier()

    def append(self, content: Mapping[str, Any]) -> int:
        """Write an entry down; it is on the disk when this returns.

        Args:
            content: of the entry; `index` and `time` are added.

        Returns:
            Its index, from 0.

        Raises:
            AuditRefused: the log is not what its last checkpoint says.
            OSError: it cannot be written, or its checkpoint cannot; nothing is.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked() as file:
            covered = self._read_on(file)
            index = self._tree.size
            line = to_line({**content, "index": index, "time": self._clock()})
            tree = self._tree.copy()
            tree.add(leaf_hash(line[:-1]))
            with self._checkpoints() as (checkpoints, end):
                if covered < index:
                    # Somebody was killed before it was there.
                    with _or_as_before((checkpoints, end)):
                        end = _write(checkpoints, end, self._checkpoint_of(self._tree))
                # An entry without its checkpoint is no fault, and the other way round it is.
                with _or_as_before((checkpoints, end), (file, self._offset)):
                    offset = _write(file, self._offset, line)
                    _write(checkpoints, end, self._checkpoint_of(tree))
            self._offset, self._tree = offset, tree
            return index

    @contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        path = self._folder / LOG
        is_new = not path.exists()
        with path.open("a+b") as made:
            fcntl.flock(made, fcntl.LOCK_EX)
            if is_new:
                _sync_folder(self._folder)
            # To append is to write at the end, wherever one stands: a torn line is to be replaced.
            with path.open("r+b") as file:
                yield file

    def _read_on(self, file: IO[bytes]) -> int:
        """Read what other processes have written since, and say how many entries a checkpoint is
        of; raises AuditRefused."""
        last = self._last_checkpoint()
        if file.seek(0, os.SEEK_END) < self._offset:
            raise self._refused(f"it is shorter than it was, and had {self._tree.size} entries")
        file.seek(self._offset)
        offset, tree = self._offset, self._tree.copy()
        found = tree.root.hex() if last is not None and last.size == tree.size else ""
        for line in file:
            if not line.endswith(b"\n"):
                break
            tree.add(leaf_hash(line[:-1]))
            offset += len(line)
            if last is not None and last.size == tree.size:
                found = tree.root.hex()
        if last is None and tree.size > 1:
            # Of the first entry somebody may have been killed before its checkpoint.
            raise self._refused(f"it has {tree.size} entries, and no checkpoint of them is there")
        if last is not None and last.size > tree.size:
            raise self._refused(f"it has {tree.size} entries, and had {last.size}")
        # Of entries that were read before, the tree is the one that they made then.
        if last is not None and last.size >= self._tree.size and found != last.root:
            raise self._refused("its entries are not those of its last checkpoint")
        self._offset, self._tree = offset, tree
        return 0 if last is None else last.size

    def _refused(self, why: str) -> AuditRefused:
        return AuditRefused(
            f"the audit log {self._folder / LOG} was changed: {why}; `cascade audit verify` says "
            "where. Nothing that it would have to tell of is done until the folder was moved away"
        )

    def _last_checkpoint(self) -> Checkpoint | None:
        path = self._folder / CHECKPOINTS
        try:
            with path.open("rb") as file:
                # The last two lines, of which one may have no end, are far shorter.
                file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
                lines = [line for line in file.read().split(b"\n")[:-1] if line]
        except FileNotFoundError:
            return None
        try:
            return Checkpoint.of_line(lines[-1]) if lines else None
        except ValueError as exc:
            raise self._refused(f"its last checkpoint cannot be read: {exc}") from exc

    @contextmanager
    def _checkpoints(self) -> Iterator[tuple[IO[bytes], int]]:
        """The file of them, and where its last whole line ends."""
        path = self._folder / CHECKPOINTS
        is_new = not path.exists()
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            if is_new:
                _sync_folder(self._folder)
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 4096))
            last = file.read()
            yield file, end - len(last) + last.rfind(b"\n") + 1

    def _checkpoint_of(self, tree: Frontier) -> bytes:
        return Checkpoint(tree.size, tree.root.hex(), self._clock()).to_line()


def to_line(content: Mapping[str, Any]) -> bytes:
    """JSON on a line, the same for equal contents."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"


def _write(file: IO[bytes], end: int, line: bytes) -> int:
    """Write a line where a file's whole ones end, over what somebody was killed in the midst of.

    It is on the disk when this returns, with where it ends. Nothing is kept in a buffer, which
    would be written after all when the file is closed.
    """
    os.ftruncate(file.fileno(), end)
    while line:
        written = os.pwrite(file.fileno(), line, end)
        line, end = line[written:], end + written
    os.fsync(file.fileno())
    return end


@contextmanager
def _or_as_before(*files: tuple[IO[bytes], int]) -> Iterator[None]:
    """Cut files to these lengths, in this order, where what is to be written cannot be."""
    try:
        yield
    except BaseException:  # also KeyboardInterrupt, which may leave half a line
        # Where even that cannot be done, all is left as by a process that was killed.
        with suppress(OSError):
            for file, length in files:
                os.ftruncate(file.fileno(), length)
                with suppress(OSError):
                    os.fsync(file.fileno())
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
