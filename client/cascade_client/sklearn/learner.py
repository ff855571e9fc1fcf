"""Tables for estimators: one of a running server, or one trained on the estimator's rows.

Training and serving run the `cascade` program in separate processes: this process does not load
torch. The trained table is kept as files, which are part of the pickled estimator.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from cascade_client.client import Client
from cascade_client.errors import MissingDependency, ServerError

TABLE = "learnt"
PROGRAM = (
    "import json, sys; from cascade_cli.program import main\n"
    "for words in json.loads(sys.argv[1]): main(words, standalone_mode=False)"
)
# Runs between an estimator's process and one of ours, and ends the latter when the former has gone,
# however it ended. It has its own session, so that interrupting a notebook cell does not stop it.
WATCHER = """
import os, subprocess, sys, threading
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=lambda: os._exit(server.wait()), daemon=True).start()
sys.stdin.buffer.read()
server.terminate()
server.wait()
"""
# How many of the last output lines of a failed program to show.
LINES_TOLD = 12


class Learnt(Protocol):
    """A served table; may be pickled.

    Attributes:
        table: its name; None: the client finds it by columns.
    """

    @property
    def table(self) -> str | None: ...

    def client(self) -> Client:
        """Return a client of the server that serves it."""


class Learner(Protocol):
    """Trains a table on rows; an estimator's `learner`."""

    def learn(self, rows: Any, classes: Sequence[str], seed: int) -> Learnt:
        """Train a table.

        Args:
            rows: a pyarrow Table.
            classes: columns whose values are all kept, however rare.
            seed: of training: equal seeds and rows give equal tables.

        Raises:
            ValueError: nothing can be learnt from these rows.
        """


@dataclass
class Served:
    """A table of a running server.

    Attributes:
        source: host and port of the server, or a function that makes a client.
        table: its name; None: the client finds it by columns.
    """

    source: str | Callable[[], Client]
    table: str | None

    def __post_init__(self) -> None:
        self._client: Client | None = None

    def client(self) -> Client:
        if self._client is None:
            source = self.source
            self._client = Client(source) if isinstance(source, str) else source()
        return self._client

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self.source, "table": self.table, "_client": None}


@dataclass(frozen=True)
class LocalLearner:
    """Trains a table on this machine, and serves it to the fitted estimator.

    For a notebook without a server. Takes some ten seconds plus the allowed training time; needs
    ``pip install 'cascade-synthesis[distill,server]'``.

    Attributes:
        minutes: of training at most, for teacher and student each.
        steps: of training at most, for both; None: by the table's size.
        teacher_rows: rows for the student's training; None: by the table's size.
        threads: of training; None: all cores.
    """

    minutes: float = 2.0
    steps: int | None = None
    teacher_rows: int | None = None
    threads: int | None = None

    def learn(self, rows: Any, classes: Sequence[str], seed: int) -> LearntTable:
        """Train a table; see `Learner.learn`."""
        import pyarrow.parquet as pq

        with tempfile.TemporaryDirectory(prefix="cascade-learning-") as name:
            folder = Path(name)
            pq.write_table(rows, folder / "rows.parquet")
            # Keep rare categories by name: only the owner of these rows will see them. JSON is
            # valid YAML.
            columns = {each: {"kind": "categorical"} for each in classes}
            schema = {"defaults": {"min_count": 1}, "columns": columns}
            (folder / "schema.yaml").write_text(json.dumps(schema))
            run(self._words(folder, seed))
            return LearntTable(_packed(folder / "repository"))

    def _words(self, folder: Path, seed: int) -> list[list[str]]:
        def options(**values: Any) -> list[str]:
            given = {name: value for name, value in values.items() if value is not None}
            return [word for name, value in given.items() for word in (f"--{name}", str(value))]

        run_folder, repository = str(folder / "run"), str(folder / "repository")
        shared = options(minutes=self.minutes, steps=self.steps, threads=self.threads, seed=seed)
        schema = options(schema=folder / "schema.yaml")
        release = options(table=TABLE, repository=repository)
        lessons = options(rows=self.teacher_rows)
        return [
            ["fit", str(folder / "rows.parquet"), "--out", run_folder, *schema, *shared],
            ["distill", run_folder, *shared, *lessons],
            # Only the owner of the rows can call this server.
            ["release", run_folder, *release, "--accept-memorisation"],
        ]


class LearntTable:
    """A table trained on this machine, held as files; served on first use until it is no longer
    referenced.

    Args:
        files: of a model repository, as a ZIP file.

    Attributes:
        process: the server; None: it is not running.
    """

    table = TABLE

    def __init__(self, files: bytes) -> None:
        self._files = files
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._client: Client | None = None
        self.process: subprocess.Popen[str] | None = None

    def client(self) -> Client:
        """Return a client of this table's own server, which ends with this object."""
        with self._lock:
            if self._client is None:
                self._client = self._serve()
            return self._client

    def close(self) -> None:
        """Stop the server; the next use starts another."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None
                self._end()

    def __getstate__(self) -> dict[str, Any]:
        return {"_files": self._files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._files = state["_files"]
        self._start()

    def _serve(self) -> Client:
        folder = tempfile.TemporaryDirectory(prefix="cascade-serving-")
        with zipfile.ZipFile(io.BytesIO(self._files)) as files:
            files.extractall(folder.name)
        words = ["serve", "--repository", folder.name, "--port", "0", "--pool-mib", "0"]
        process = _watched([words])
        self.process = process
        self._end = weakref.finalize(self, _end, process, folder, os.getpid())
        return Client(_address(process))


def run(words: Sequence[Sequence[str]]) -> None:
    """Run commands of the `cascade` program, one after another, in a separate process.

    Raises:
        ValueError: one of them failed; has its last output lines.
        MissingDependency: the training packages are not installed.
    """
    process = _watched(words)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        lines = process.stdout.read().strip().splitlines()
    finally:  # also where the cell that fits is interrupted
        process.stdin.close()
        code = process.wait()
        process.stdout.close()
    if code == 0:
        return
    said = "\n".join(lines[-LINES_TOLD:])
    if "ModuleNotFoundError" in said or "No such command" in said:
        raise MissingDependency(
            "learning a table of one's own needs pip install 'cascade-synthesis[distill,server]', "
            f"or name a server that has one: client='127.0.0.1:8470'\n{said}"
        )
    # For an expected error, show its message; else all output.
    found = re.search(
        r"(?:ClickException|UsageError|BadParameter|Refused|Error): (.+)\Z", said, re.S
    )
    raise ValueError(f"nothing was learnt of these rows: {found[1] if found else said}")


def _watched(words: Sequence[Sequence[str]]) -> subprocess.Popen[str]:
    """Start commands of the `cascade` program in a process that ends when its standard
    input does.
    """
    program = [sys.executable, "-c", PROGRAM, json.dumps(words)]
    return subprocess.Popen(
        [sys.executable, "-c", WATCHER, *program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _address(process: subprocess.Popen[str]) -> str:
    """Return the address of a started server; keep reading its output, so that it never blocks."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := re.search(r"serving on (\S+:\d+)", line):
            threading.Thread(target=_drain, args=(process.stdout,), daemon=True).start()
            return found[1]
    process.stdout.close()
    process.wait()
    raise ServerError("the server of a table of its own ended:\n" + "".join(lines[-LINES_TOLD:]))


def _drain(stream: IO[str]) -> None:
    with stream:
        stream.read()


def _end(
    process: subprocess.Popen[str], folder: tempfile.TemporaryDirectory[str], owner: int
) -> None:
    """Stop a server; do nothing in a forked copy of the process that started it."""
    if os.getpid() != owner:
        return
    assert process.stdin is not None
    process.stdin.close()
    process.wait()
    folder.cleanup()


def _packed(folder: Path) -> bytes:
    """Pack a folder as an uncompressed ZIP file; a caller may compress the pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as files:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                files.write(path, path.relative_to(folder))
    return out.getvalue()
