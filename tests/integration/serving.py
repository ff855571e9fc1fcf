"""`cascade serve` as it is typed, for the tests that watch its processes."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil
from cascade_client import Client

from tests.typed import EAGER_CASCADE, SOON


@dataclass
class Served:
    """`cascade serve`, what it has said, and where it listens."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    target: str = ""

    def __post_init__(self) -> None:
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                self.lines.append(line)
                self._more.notify_all()

    def until_said(self, pattern: str, times: int = 1) -> str:
        """Wait for lines that match; returns the last."""

        def found() -> list[str]:
            return [line for line in self.lines if re.search(pattern, line)]

        with self._more:
            assert self._more.wait_for(lambda: len(found()) >= times, SOON), self.lines
        return found()[-1]

    @property
    def children(self) -> list[psutil.Process]:
        """Workers first, the teacher last."""
        niceness: dict[psutil.Process, int] = {}
        for each in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # it has ended since
                niceness[each] = each.nice()
        return sorted(niceness, key=niceness.__getitem__)

    def client(self, timeout: float = SOON) -> Client:
        return Client(self.target, timeout=timeout)


@contextmanager
def serve(*options: str, program: Sequence[str] = EAGER_CASCADE) -> Iterator[Served]:
    with subprocess.Popen(
        [*program, "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        served = Served(process)
        try:
            said = served.until_said("serving on|Error")
            assert "serving" in said, served.lines
            served.target = re.findall(r"\S+:\d+", said)[0]
            yield served
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(SOON)


def until(holds: Callable[[], bool], seconds: float = SOON) -> None:
    """Look again and again, for as long as is reasonable."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)
