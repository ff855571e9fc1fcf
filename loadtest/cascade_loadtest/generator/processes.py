"""The processes of a load: how they are started, told to begin, and heard.

    python -m cascade_loadtest.generator PLAN.npz

is one of them: it connects, prints "ready", reads from its standard input when to begin (seconds of
the machine's monotonic clock), asks, and prints one JSON object.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.generator.plan import Plan
from cascade_loadtest.generator.tally import Tally, merged

# Seconds from the word to begin to the beginning.
HEAD_START = 0.2
# Seconds beyond a run that its last calls, and what is told of them, may take.
END_SECONDS = 60.0


@contextmanager
def _process(path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "cascade_loadtest.generator", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


class Offering:
    """A load that is under way; `offering` gives one.

    Attributes:
        began: monotonic seconds at which its calls began.
    """

    def __init__(self, processes: list[subprocess.Popen[str]], plan: Plan, began: float) -> None:
        self._processes, self._plan, self.began = processes, plan, began

    def result(self) -> Tally:
        """Wait until every call has ended.

        Raises:
            LoadFailed: a process ended before its calls did; says what it wrote.
        """
        return merged([Tally.from_json(self._heard(each)) for each in self._processes])

    def _heard(self, process: subprocess.Popen[str]) -> Any:
        left = self.began + self._plan.seconds - time.monotonic() + END_SECONDS
        try:
            out, err = process.communicate(timeout=max(left, 1.0))
        except subprocess.TimeoutExpired:
            raise LoadFailed("a process of the generator did not end") from None
        if process.returncode != 0:
            raise LoadFailed(f"a process of the generator ended: {err.strip()[-2000:]}")
        return json.loads(out)


@contextmanager
def offering(plan: Plan, processes: int = 1) -> Iterator[Offering]:
    """Carry a plan out in some processes while the block goes on.

    Raises:
        LoadFailed: a process could not connect; says what it wrote.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loadtest-")))
        started = []
        for number in range(processes):
            path = folder / f"{number}.npz"
            plan.share(number, processes).save(path)
            started.append(stack.enter_context(_process(path)))
        for each in started:
            assert each.stdout is not None
            if each.stdout.readline().strip() != "ready":
                _, err = each.communicate()
                raise LoadFailed(f"a process of the generator ended: {err.strip()[-2000:]}")
        began = time.monotonic() + HEAD_START
        for each in started:
            assert each.stdin is not None
            each.stdin.write(f"{began}\n")
            each.stdin.flush()
        yield Offering(started, plan, began)


def offer(plan: Plan, processes: int = 1) -> Tally:
    """Carry a plan out, and wait for its end.

    Raises:
        LoadFailed: a process could not connect, or ended before its calls did.
    """
    with offering(plan, processes) as load:
        return load.result()


@dataclass(frozen=True)
class Capacity:
    """What a closed loop was given.

    Attributes:
        per_s: calls a second that were answered.
        refused: share of its calls that were not.
        cpu: share of a processor that it took to ask; near 1 it is the loop that was measured.
    """

    per_s: float
    refused: float
    cpu: float


def capacity(plan: Plan) -> Capacity:
    """How many calls a second a server answers to a closed loop on one connection, which is one
    worker's.

    Raises:
        LoadFailed: it could not connect, or no call was answered.
    """
    with tempfile.TemporaryDirectory(prefix="loadtest-") as folder:
        path = Path(folder) / "plan.npz"
        plan.save(path)
        with _process(path) as process:
            try:
                out, err = process.communicate("0\n", timeout=plan.seconds + END_SECONDS)
            except subprocess.TimeoutExpired:
                raise LoadFailed("the closed loop did not end") from None
            if process.returncode != 0:
                raise LoadFailed(f"the closed loop ended: {err.strip()[-2000:]}")
            found = json.loads(out.splitlines()[-1])
    return Capacity(**found)
