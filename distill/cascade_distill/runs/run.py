"""A run folder: everything between a table and a release, each file whole or absent.

lock                              who is at work here
run.json                          source, rows, what was held out, configurations, seconds spent
codec.json                        schema and codec
forms.json                        how cells were written in the text files that were learnt from
schema.yaml                       the schema for people, to change and to give back
tokens.safetensors                the encoded rows to learn from
held_out.safetensors              those that tell when training should end; absent where none do
teacher.checkpoint.safetensors    resumable training state
teacher.safetensors, teacher.onnx the finished teacher, as a network and as a graph
teacher_rows/                     batches of the next, while some are missing
teacher_rows.safetensors          rows that the teacher made, for the student to learn from
lessons.safetensors               what the teacher says of them
student.checkpoint.safetensors
student.onnx
fidelity.json                     what `cascade evaluate` measured
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from cascade_tables import CascadeTablesError, Codec
from cascade_tables.files.forms import Form
from torch import Tensor

from cascade_distill.errors import RunBusy, RunDamaged, RunIncomplete
from cascade_distill.runs.checkpoint import write_atomic
from cascade_distill.runs.token_store import StoredTokens, TokenWriter

try:
    import fcntl
except ImportError:  # where the system has no such locks
    fcntl = None  # type: ignore[assignment]

# Rows per write.
PART = 65_536


@dataclass(frozen=True)
class Run:
    """Paths and small files of one run folder."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def path(self, file: str) -> Path:
        return self.folder / file

    def require(self, file: str, command: str) -> Path:
        """Return the path of a file that must exist; `command` is the one that makes it.

        Raises:
            RunIncomplete: it does not exist.
        """
        path = self.path(file)
        if not path.exists():
            raise RunIncomplete(f"{path} does not exist; run first: {command}")
        return path

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Lock the folder for this process: two commands would overwrite parts of what the other
        reads.

        The kernel holds the lock and releases it when the process ends. If the system or the file
        system has no locks, or the process may only read the folder, nothing is locked. A folder
        that was created for the lock and stayed empty is removed afterwards.

        Raises:
            RunBusy: another process has the lock.
        """
        lock, is_new = self.path("lock"), not self.folder.exists()
        with ExitStack() as stack:
            with suppress(OSError):
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock(stack.enter_context(lock.open("a+")))
            try:
                yield
            finally:
                with suppress(OSError):
                    if is_new and list(self.folder.iterdir()) == [lock]:
                        lock.unlink()
                        self.folder.rmdir()

    def _lock(self, file: IO[str]) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RunBusy(
                f"another command is at work in {self.folder} (process "
                f"{file.read().strip() or 'unknown'}); wait for its end, or choose another folder"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()

    def read_json(self, file: str) -> dict[str, Any]:
        """Return the content of a small file; {} if it does not exist.

        Raises:
            RunDamaged: it cannot be read.
        """
        path = self.path(file)
        if not path.exists():
            return {}
        try:
            return dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as exc:
            raise RunDamaged(path, exc) from exc

    def write_json(self, file: str, content: dict[str, Any]) -> None:
        write_atomic(self.path(file), (json.dumps(content, indent=2) + "\n").encode())

    def digest(self, file: str) -> str:
        """Return the SHA-256 in hex of an existing file."""
        with self.path(file).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    def update(self, **entries: Any) -> None:
        """Add entries to run.json."""
        self.write_json("run.json", self.read_json("run.json") | entries)

    def codec(self) -> Codec:
        path = self.require("codec.json", f"cascade fit TABLE --out {self.folder}")
        try:
            return Codec.from_dict(json.loads(path.read_text()))
        except (ValueError, TypeError, LookupError, CascadeTablesError) as exc:
            raise RunDamaged(path, exc) from exc

    def forms(self) -> dict[str, Form]:
        """Return how cells are written in files of this table, by column; see `save_forms`."""
        return {name: Form.from_dict(form) for name, form in self.read_json("forms.json").items()}

    def save_forms(self, forms: Mapping[str, Form]) -> None:
        """Store how cells were written, so that later files are read as the first was."""
        self.write_json("forms.json", {name: form.to_dict() for name, form in forms.items()})

    def stored(self, file: str, command: str) -> StoredTokens:
        """Open rows that `save_tokens` or a `TokenWriter` wrote, without loading them; see
        `require`.
        """
        return StoredTokens(self.require(file, command))

    def tokens(self, file: str, command: str) -> Tensor:
        """Load the same rows as int64 [n, T] into memory."""
        return self.stored(file, command)[:]

    def save_tokens(self, file: str, tokens: Tensor, identity: str) -> None:
        """Write rows [n, T] from memory."""
        rows, slots = tokens.shape
        most = int(tokens.max()) if tokens.numel() else 0
        with TokenWriter(self.path(file), rows, slots, most, identity) as writer:
            for part in tokens.split(PART):
                writer.append(part.numpy().astype(np.int32, copy=False))
            writer.commit()

    def add_seconds(self, what: str, seconds: float) -> None:
        """Add to the time spent on a step, accumulated over interruptions."""
        spent = dict(self.read_json("run.json").get("seconds", {}))
        spent[what] = round(spent.get(what, 0.0) + seconds, 1)
        self.update(seconds=spent)
