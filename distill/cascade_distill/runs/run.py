"""A run folder: everything between a table and a release, each file whole or absent.

run.json                          source, rows, what was held out, configurations, seconds spent
codec.json                        schema and codec
forms.json                        how cells were written in the text files that were learnt from
schema.yaml                       the schema for people, to change and to give back
tokens.safetensors                the encoded rows to learn from
held_out.safetensors              those that tell when training should end; absent where none do
teacher.checkpoint.safetensors    resumable training state
teacher.safetensors, teacher.onnx the finished teacher, as a network and as a graph
teacher_rows.safetensors          rows that the teacher made, for the student to learn from
lessons.safetensors               what the teacher says of them
student.checkpoint.safetensors
student.onnx
fidelity.json                     what `cascade evaluate` measured
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cascade_tables import Codec
from cascade_tables.files.forms import Form
from torch import Tensor

from cascade_distill.errors import RunIncomplete
from cascade_distill.runs.checkpoint import write_atomic
from cascade_distill.runs.token_store import StoredTokens, TokenWriter

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

    def read_json(self, file: str) -> dict[str, Any]:
        path = self.path(file)
        return dict(json.loads(path.read_text())) if path.exists() else {}

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
        return Codec.from_dict(json.loads(path.read_text()))

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
