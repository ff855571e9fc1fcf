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

# Rows that are written at once.
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
        """The path of a file that must be there; `command` is what makes it.

        Raises:
            RunIncomplete: it is not.
        """
        path = self.path(file)
        if not path.exists():
            raise RunIncomplete(f"{path} does not exist; run first: {command}")
        return path

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have the folder to oneself: two commands would each write a part of what the other reads.

        The lock is the kernel's, and goes with the process that holds it. Where the system or the
        file system has none, nobody is kept out; nor who may only read the folder. A folder that
        was not there, and in which nothing was made, is not there afterwards.

        Raises:
            RunBusy: another process has it.
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
        """What a small file holds; {}: there is none.

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
        """SHA-256 in hex of a file that is there."""
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
        """How cells are written in files of this table, by column; see `save_forms`."""
        return {name: Form.from_dict(form) for name, form in self.read_json("forms.json").items()}

    def save_forms(self, forms: Mapping[str, Form]) -> None:
        """Keep how cells were written, so that later files are read as the first was."""
        self.write_json("forms.json", {name: form.to_dict() for name, form in forms.items()})

    def stored(self, file: str, command: str) -> StoredTokens:
        """Rows that `save_tokens` or a `TokenWriter` wrote, where they lie; see `require`."""
        return StoredTokens(self.require(file, command))

    def tokens(self, file: str, command: str) -> Tensor:
        """The same as int64 [n, T] in memory."""
        return self.stored(file, command)[:]

    def save_tokens(self, file: str, tokens: Tensor, identity: str) -> None:
        """Write rows [n, T] that are in memory."""
        rows, slots = tokens.shape
        most = int(tokens.max()) if tokens.numel() else 0
        with TokenWriter(self.path(file), rows, slots, most, identity) as writer:
            for part in tokens.split(PART):
                writer.append(part.numpy().astype(np.int32, copy=False))
            writer.commit()

    def add_seconds(self, what: str, seconds: float) -> None:
        """Count time spent on a step, over all the times it was stopped and resumed."""
        spent = dict(self.read_json("run.json").get("seconds", {}))
        spent[what] = round(spent.get(what, 0.0) + seconds, 1)
        self.update(seconds=spent)
