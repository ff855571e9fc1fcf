"""Preparation of a run's tokens from files, or reuse of existing tokens of the same files.

Reading ten million rows takes as long as many training steps, so a resumed run does not read them
again. A fingerprint of the files' bytes and of the options identifies the tokens.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
from cascade_tables import (
    ColumnOverride,
    Frame,
    RareRule,
    RelationOverride,
    Schema,
    find_relations,
    infer_schema,
    schema_file,
)
from cascade_tables.categories import describe_foldings, foldings
from cascade_tables.files.opening import STDIN
from cascade_tables.files.reading import read_by_schema, read_files
from cascade_tables.files.table import Table

from cascade_distill.errors import DiskFull
from cascade_distill.learning.rows import prepare
from cascade_distill.recipes import MOST_HELD_OUT, rows_to_hold_out
from cascade_distill.runs.checkpoint import write_atomic
from cascade_distill.runs.run import Run
from cascade_distill.training.loop import fingerprint

# Increase when equal files give other tokens than before.
ENCODING = 2
# File in the run folder that keeps standard input while it is needed.
SPOOLED = "standard_input.csv"


@dataclass(frozen=True)
class Asked:
    """Inputs and options that determine the tokens of a run.

    Attributes:
        tables: the files, which form one table.
        overrides, relations: the user's corrections of the schema.
        validation: a file of rows to hold out.
        encoding, delimiter: of text files.
        seed: selects the held-out rows.
        rule: how to treat rare categories.
    """

    tables: tuple[Path, ...]
    overrides: Mapping[str, ColumnOverride]
    relations: Sequence[RelationOverride] = ()
    validation: Path | None = None
    encoding: str | None = None
    delimiter: str | None = None
    seed: int = 0
    rule: RareRule = field(default_factory=RareRule)

    @property
    def source(self) -> str:
        """Name of the table."""
        return names_of(self.tables)

    def fingerprint(self) -> str:
        """Compute the fingerprint of all options and of the bytes of all files, which are read for
        it.
        """
        files = [_digest(path) for path in (*self.tables, self.validation) if path is not None]
        overrides = {name: asdict(override) for name, override in self.overrides.items()}
        relations = [asdict(each) for each in self.relations]
        options = self.validation is not None, self.encoding, self.delimiter, self.seed
        return fingerprint(ENCODING, files, overrides, relations, options, asdict(self.rule))


@dataclass(frozen=True)
class Size:
    """Size of a table: rows, modelled columns, training rows and held-out rows."""

    rows: int
    columns: int
    learnt: int
    held_out: int


@dataclass(frozen=True)
class Reading:
    """Result of reading the files.

    Attributes:
        table: the rows.
        schema: of the table.
        validation: rows of a separate file that are to be held out.
        said: paragraphs to show the user.
        began: when reading began, in seconds of `time.monotonic`.
    """

    table: Table
    schema: Schema
    validation: Frame | None
    said: tuple[str, ...]
    began: float

    @property
    def size(self) -> Size:
        rows = self.table.whole.rows
        if self.validation is None:
            held_out = rows_to_hold_out(rows)
            return Size(rows, len(self.schema.columns), rows - held_out, held_out)
        held_out = min(len(self.validation), MOST_HELD_OUT)
        return Size(rows, len(self.schema.columns), rows, held_out)


@dataclass(frozen=True)
class Encoded:
    """Tokens that are in a run folder.

    Attributes:
        size: of their table.
        left_out: rows of the validation file that could not be used.
        said: paragraphs to show the user.
    """

    size: Size
    left_out: int
    said: tuple[str, ...]


def read(asked: Asked) -> Reading:
    """Read the files and decide the schema of the table.

    Raises:
        DataError, SchemaError, UnknownColumn: see `read_files` and `infer_schema`.
    """
    began = time.monotonic()
    table = read_files(asked.tables, asked.overrides, asked.encoding, asked.delimiter)
    frame, findings = table.frame, table.findings
    schema = infer_schema(frame, table.overrides, findings.left_out, asked.rule)
    schema = replace(schema, relations=find_relations(frame, schema, asked.relations))
    said = [schema.describe(), describe_foldings(foldings(schema, frame)), findings.describe()]
    if asked.validation is None:
        return Reading(table, schema, None, tuple(filter(None, said)), began)
    other = read_by_schema(
        (asked.validation,), schema, findings.forms, asked.encoding, asked.delimiter
    )
    said.append(misfits(str(asked.validation), other))
    return Reading(table, schema, other.frame, tuple(filter(None, said)), began)


def encode(run: Run, asked: Asked, key: str, reading: Reading) -> Encoded:
    """Write the tokens of files that were read into a run folder, and how the files were read.

    Args:
        run: the folder.
        asked: the inputs and options.
        key: their fingerprint.
        reading: result of reading them.

    Raises:
        DiskFull: nothing half-written is left.
        CheckpointMismatch: the folder holds a network that was trained on other rows; it is left as
            it is.
        HeldOutRefused: the validation rows cannot be used.
    """
    table, schema = reading.table, reading.schema
    give_memory_back()
    left_out = prepare(
        run,
        schema,
        table.frame,
        asked.source,
        asked.seed,
        reading.validation,
        table.stream,
    )
    run.save_forms(table.findings.forms)
    text = schema_file(schema, asked.source, asked.overrides, asked.relations, asked.rule)
    write_atomic(run.path("schema.yaml"), text.encode())
    size = replace(reading.size, held_out=reading.size.held_out - left_out)
    done = Encoded(size, left_out, reading.said)
    # Write this last, once everything else is in place.
    seconds = round(time.monotonic() - reading.began, 1)
    about = {"key": key, "size": asdict(size), "left_out": left_out, "seconds": seconds}
    # Do not keep the messages: they quote cells of the table, and a run's files go into releases.
    run.update(read=about)
    return done


def encoded_before(run: Run, key: str) -> Encoded | None:
    """Return the tokens that a run folder already has for the same files; None if it has none."""
    about: dict[str, Any] = run.read_json("run.json").get("read", {})
    needed = ["codec.json", "forms.json", "schema.yaml", "tokens.safetensors"]
    if about.get("key") != key or not all(run.path(file).exists() for file in needed):
        return None
    size = Size(**about["size"])
    if size.held_out and not run.path("held_out.safetensors").exists():
        return None
    stored = run.stored("tokens.safetensors", "")
    schema = run.codec().schema
    if (len(stored), stored.identity) != (size.learnt, schema.fingerprint):
        return None
    return Encoded(size, int(about["left_out"]), (schema.describe(),))


def spool(tables: Sequence[Path], folder: Path, stream: BinaryIO | None = None) -> tuple[Path, ...]:
    """Replace "-" in the files by a copy of standard input in a run folder.

    Args:
        tables: the files; "-" is standard input.
        folder: of the run.
        stream: the stream to read; None: standard input.

    Raises:
        DiskFull: there is no room for it.
    """
    if STDIN not in map(str, tables):
        return tuple(tables)
    path = folder / SPOOLED
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(stream or sys.stdin.buffer, file, 1 << 20)
    except OSError as exc:
        size = path.stat().st_size if path.exists() else 0
        path.unlink(missing_ok=True)
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(path, size) from exc
        raise
    return tuple(path if str(table) == STDIN else table for table in tables)


def forget_spooled(run: Run) -> None:
    """Remove the copy of standard input once its tokens are there."""
    run.path(SPOOLED).unlink(missing_ok=True)


def give_memory_back() -> None:
    """Return the memory that reading no longer needs to the system.

    The allocators of Arrow and of the C library would keep it, and training would need more on top.
    """
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # there is none but in glibc
        ctypes.CDLL(None).malloc_trim(0)


def names_of(files: Sequence[Path]) -> str:
    """Format the names of files for messages."""
    return ", ".join("-" if file.name == SPOOLED else file.name for file in files)


def misfits(files: str, table: Table) -> str:
    """List the values that do not fit the schema in files that were read by it, one line per
    column.
    """
    return "\n".join(
        f"{files}: {each.column}: {each.describe()} do not fit {each.form}; they count as NULL"
        for each in table.findings.odd
    )


def _digest(path: Path) -> str:
    """Return the SHA-256 in hex of a file's bytes, or of all files in a folder with their names."""
    if not path.exists():
        return "absent"
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(each for each in path.rglob("*") if each.is_file())
    parts = [(str(each.relative_to(path)), _digest(each)) for each in files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
