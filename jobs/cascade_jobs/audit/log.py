"""The audit log: one entry per line, each followed by a checkpoint with the number of entries and
their root.

An entry is on the disk before anybody acts on it. If it or its checkpoint cannot be written, both
files are cut to their former length. A process that is killed while writing leaves a line without
an end, which nobody was told of; the next entry replaces it. A process that is killed between an
entry and its checkpoint leaves one entry without; the next writer adds the checkpoint first, so
that two such entries prove tampering. Processes take turns with a lock that the kernel releases
when its owner ends.

A log that does not match its last checkpoint accepts no more entries: a decision that cannot be
recorded must not take effect, and a log that continued would hide the tampering.
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

# Subfolder of a server's state folder.
FOLDER = "audit"
LOG, CHECKPOINTS = "audit.log", "audit.checkpoints"
# Integers that any JSON reader holds exactly; no log has that many entries.
MOST_ENTRIES = 2**53
TOO_DEEP = "it is nested too deeply"


@dataclass(frozen=True)
class Checkpoint:
    """State of a log at one time.

    Attributes:
        size: number of entries.
        root: of the tree over them, in hexadecimal digits.
        time: seconds since 1970-01-01 UTC.
    """

    size: int
    root: str
    time: float = 0.0

    def to_line(self) -> bytes:
        """Return the checkpoint as a terminated line of JSON; `of_line` parses it."""
        return to_line({"size": self.size, "root": self.root, "time": self.time})

    @classmethod
    def of_line(cls, line: bytes) -> Checkpoint:
        """Parse the output of `to_line`.

        Raises:
            ValueError: it is invalid.
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
    """Return whether a value can be an entry's index, or a number of entries."""
    return type(value) is int and 0 <= value <= MOST_ENTRIES


class AuditLog:
    """The log in a folder; used by one thread at a time, and any number of processes.

    Args:
        folder: of the log; created with the first entry.
        clock: seconds since 1970-01-01 UTC.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = folder, clock
        # Part of the log that was read before: its end in bytes, and the tree over it.
        self._offset, self._tree = 0, Frontier()

    def append(self, content: Mapping[str, Any]) -> int:
        """Append an entry; it is on the disk when this returns.

        Args:
            content: of the entry; `index` and `time` are added.

        Returns:
            Its index, from 0.

        Raises:
            AuditRefused: the log does not match its last checkpoint.
            OSError: it or its checkpoint cannot be written; nothing is.
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
                    # A process was killed before it wrote the checkpoint.
                    with _or_as_before((checkpoints, end)):
                        end = _write(checkpoints, end, self._checkpoint_of(self._tree))
                # An entry may lack its checkpoint, but a checkpoint must not lack its entry.
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
            # Not opened for appending, which always writes at the end: a torn line must be
            # replaced.
            with path.open("r+b") as file:
                yield file

    def _read_on(self, file: IO[bytes]) -> int:
        """Read the entries that other processes have written since; return how many a checkpoint
        covers.

        Raises AuditRefused.
        """
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
            # Only the first entry may be without a checkpoint, if its writer was killed.
            raise self._refused(f"it has {tree.size} entries, and no checkpoint of them is there")
        if last is not None and last.size > tree.size:
            raise self._refused(f"it has {tree.size} entries, and had {last.size}")
        # For entries that were read before, compare with the tree that they formed then.
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
                # The last two lines, one of which may lack an end, are far shorter.
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
        """Open the checkpoints' file, and find where its last whole line ends."""
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
    """Return JSON on a line, equal for equal contents."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"


def _write(file: IO[bytes], end: int, line: bytes) -> int:
    """Write a line after a file's last whole line, over any torn line; return where it ends.

    It is on the disk when this returns. Nothing stays in a buffer, which would still be written
    when the file is closed.
    """
    os.ftruncate(file.fileno(), end)
    while line:
        written = os.pwrite(file.fileno(), line, end)
        line, end = line[written:], end + written
    os.fsync(file.fileno())
    return end


@contextmanager
def _or_as_before(*files: tuple[IO[bytes], int]) -> Iterator[None]:
    """Truncate files to these lengths, in this order, if the block fails."""
    try:
        yield
    except BaseException:  # also KeyboardInterrupt, which may leave half a line
        # If even that fails, the files are as if the process had been killed.
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
