"""A server of several processes that a fault happens to, and what is known of each of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from cascade_client import Client
from cascade_client.errors import CascadeError
from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.servers import default_server

# Seconds that anything may take that is waited for; and to end.
SOON, END_SECONDS = 60.0, 30.0


@dataclass
class Stage:
    """A server under load.

    Attributes:
        process: its first process, the supervisor.
        target: "host:port".
        repository, state: its folders.
        lines: what it has said.
    """

    process: subprocess.Popen[str]
    repository: Path
    state: Path | None
    target: str = ""
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._more = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                self.lines.append(line.rstrip())
                self._more.notify_all()

    def until_said(self, pattern: str, after: int = 0, seconds: float = SOON) -> re.Match[str]:
        """Wait for a line that matches.

        Args:
            pattern: a regular expression.
            after: lines that do not count: `said` of an earlier moment.

        Raises:
            LoadFailed: there is none.
        """

        def found() -> re.Match[str] | None:
            matches = (re.search(pattern, line) for line in self.lines[after:])
            return next(filter(None, matches), None)

        with self._more:
            if not self._more.wait_for(lambda: found() is not None, seconds):
                last = "\n".join(self.lines[-10:])
                raise LoadFailed(f"the server did not say {pattern!r}; it said last:\n{last}")
        match = found()
        assert match is not None
        return match

    @property
    def said(self) -> int:
        """Lines so far."""
        return len(self.lines)

    def client(self, timeout: float = 10.0) -> Client:
        """A client of it, for what is not measured."""
        return Client(self.target, timeout=timeout)

    @property
    def workers(self) -> list[psutil.Process]:
        """Processes that answer calls."""
        with self.client() as client:
            return [psutil.Process(each.pid) for each in client.statistics().workers]

    def _children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def _holding(self, part: str) -> list[psutil.Process]:
        """Children that have a file open whose path has this part."""
        found = []
        for each in self._children():
            with suppress(psutil.Error):
                if any(part in file.path for file in each.open_files()):
                    found.append(each)
        return found

    @property
    def executors(self) -> list[psutil.Process]:
        """Processes that work off jobs."""
        return self._holding("/owners/")

    @property
    def teacher(self) -> psutil.Process:
        """The teacher's process: of those with the lowest priority the one that is no executor."""
        executors = self.executors
        return next(
            each for each in self._children() if each.nice() == 19 and each not in executors
        )

    @property
    def keeper(self) -> psutil.Process:
        """The process that keeps the books."""
        others = [*self.workers, self.teacher, *self.executors]
        return next(each for each in self._children() if each not in others)

    def events(self, table: str) -> int:
        """Calls of a table that have been counted for an objective, in all processes."""
        with self.client() as client:
            found = client.service_level().objectives
        return max((each.total for each in found if each.table == table), default=0)

    @property
    def since(self) -> datetime:
        """When counting began, as the server has it."""
        with self.client() as client:
            return client.service_level().since


@contextmanager
def staged(
    repository: Path,
    state: Path | None,
    *options: str,
    environment: Mapping[str, str] | None = None,
    limit: Callable[[], object] | None = None,
    before: Sequence[str] = (),
) -> Iterator[Stage]:
    """Serve until the block ends.

    Args:
        repository, state: folders; None: no state is kept.
        options: of `cascade serve`.
        environment: variables beside this process's own.
        limit: is called in the server's process before it begins.
        before: a program, and its arguments, that starts the server.

    Raises:
        LoadFailed: it does not serve.
    """
    given = ("--state-dir", str(state)) if state is not None else ()
    command = [*before, *default_server(repository, *given, *options)]
    own = {key: value for key, value in os.environ.items() if not key.startswith("CASCADE_")}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**own, "PYTHONUNBUFFERED": "1", **(environment or {})},
        preexec_fn=limit,
    ) as process:
        stage = Stage(process, repository, state)
        try:
            said = stage.until_said(r"serving on (\S+:\d+)|Error: (.*)")
            if said[2]:
                raise LoadFailed(said[2])
            stage.target = said[1]
            yield stage
        finally:
            with suppress(psutil.Error):
                for each in psutil.Process(process.pid).children(recursive=True):
                    each.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def until(holds: Callable[[], Any], seconds: float = SOON) -> None:
    """Look again and again until something holds.

    Raises:
        LoadFailed: it did not in so many seconds.
    """
    end = time.monotonic() + seconds
    while True:
        with suppress(CascadeError, psutil.Error, StopIteration):
            if holds():
                return
        if time.monotonic() > end:
            raise LoadFailed(f"what was waited for has not come in {seconds:g} s")
        time.sleep(0.02)
