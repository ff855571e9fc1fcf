"""What goes on beside the calls: an offline job, and Locust's users."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cascade_client import CascadeError, Client, JobHandle
from cascade_client.messages.wire import Fidelity

from cascade_loadtest.bundled import ROOT
from cascade_loadtest.errors import LoadFailed

LOCUSTFILE = ROOT / "loadtest" / "locustfile.py"
# Rows of each job: another is submitted when one is done.
JOB_ROWS = 200_000
# Seconds between looks at it, and for it to begin.
LOOK_SECONDS, BEGIN_SECONDS = 1.0, 60.0
# Seconds that Locust's users may take to be ready, and that it may take to end.
START_SECONDS, END_SECONDS = 60.0, 60.0


class OfflineJobs:
    """Jobs of many rows, one after another, for as long as the block goes on.

    Args:
        target: of the server.
        table: of which rows are made.
        fidelity: "full" is the teacher, as jobs have it, "fast" the student.

    Attributes:
        rows: that were made between `begin` and the end.
        failed: why a job failed; "": none has.
    """

    def __init__(self, target: str, table: str, fidelity: Fidelity) -> None:
        self._client = Client(target, timeout=10)
        self._table, self._fidelity = table, fidelity
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._before = self._at_begin = 0
        self._seconds = [0.0, 0.0]
        self.rows, self.failed = 0, ""
        self._handle = self._submit()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _submit(self) -> JobHandle:
        return self._client.submit(self._table, JOB_ROWS, fidelity=self._fidelity, fresh=True)

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self._look()
            except CascadeError as exc:
                self.failed = str(exc)
                return

    def _look(self) -> None:
        with self._lock:
            status = self._handle.refresh()
            if status.state.is_final:
                if status.reason:
                    self.failed = status.reason
                self._before += status.rows_done
                self._handle = self._submit()

    def _made(self) -> int:
        with self._lock:
            return self._before + self._handle.refresh().rows_done

    def begin(self) -> None:
        """Count from now on."""
        self._at_begin, self._seconds[0] = self._made(), time.monotonic()
        self._thread.start()

    def end(self) -> None:
        """Stop the background work, and note how many rows it made in how many seconds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if not self.failed:
            try:
                self.rows, self._seconds[1] = self._made() - self._at_begin, time.monotonic()
            except CascadeError as exc:
                self.failed = str(exc)

    @property
    def rows_per_s(self) -> float:
        """Between `begin` and `end`; 0 where a job failed. Files that are not whole count too."""
        seconds = self._seconds[1] - self._seconds[0]
        return self.rows / seconds if seconds > 0 and not self.failed else 0.0

    def wait_begun(self) -> None:
        """Return when rows are made, or after a minute: jobs begin when somebody is free."""
        until = time.monotonic() + BEGIN_SECONDS
        while time.monotonic() < until and not self._made():
            time.sleep(0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stop.set()
        with suppress(CascadeError):
            self._handle.cancel()
        self._client.close()


class LocustUsers:
    """Locust, without its page, in a process of its own.

    Args:
        target: of the server.
        users: how many; a kind of them after another.
        table: a bundled one.
        folder: for what they write.

    Raises:
        LoadFailed: it is not installed.
    """

    def __init__(self, target: str, users: int, table: str, folder: Path) -> None:
        if find_spec("locust") is None:
            raise LoadFailed("Locust is not installed; pip install 'cascade-synthesis[loadtest]'")
        self._outcomes, self._ready = folder / "outcomes.json", folder / "ready"
        self._log = (folder / "log").open("w+")
        command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE)]
        command += ["--headless", "--only-summary", "--host", target]
        command += ["--users", str(users), "--spawn-rate", str(users)]
        command += ["--exit-code-on-error", "0", "--table", table]
        command += ["--outcomes", str(self._outcomes), "--ready", str(self._ready)]
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=self._log, env=without_settings("LOCUST_")
        )

    def wait_ready(self) -> None:
        """Return when the first of them asks.

        Raises:
            LoadFailed: none has in a minute.
        """
        until = time.monotonic() + START_SECONDS
        while not self._ready.exists():
            if self._process.poll() is not None or time.monotonic() > until:
                raise LoadFailed(f"Locust's users did not begin:\n{self._said()}")
            time.sleep(0.05)

    def end(self) -> Any:
        """Stop them; what Locust's recorder kept.

        Raises:
            LoadFailed: Locust did not end as it should; says what it wrote last.
        """
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise LoadFailed(f"Locust did not end within {END_SECONDS:.0f} s") from None
        if self._process.returncode != 0 or not self._outcomes.exists():
            raise LoadFailed(f"Locust ended with {self._process.returncode}:\n{self._said()}")
        return json.loads(self._outcomes.read_text())

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read().strip()[-2000:]

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._log.close()


@contextmanager
def locust_users(target: str, users: int, table: str) -> Iterator[LocustUsers | None]:
    """Locust's users while the block goes on; None: none are wanted."""
    if not users:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="loadtest-") as folder:
        started = LocustUsers(target, users, table, Path(folder))
        try:
            yield started
        finally:
            started.kill()


def without_settings(prefix: str) -> dict[str, str]:
    """This process's environment, without settings that would make a program another one."""
    return {key: value for key, value in os.environ.items() if not key.startswith(prefix)}
