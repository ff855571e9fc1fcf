"""What the server's processes take of the machine while it is loaded: memory and processors."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

# A process's growth is told of at least so long a run after its warm-up, in seconds.
SHORTEST = 300.0
# The share of the run, at its beginning, in which a process is still warming up.
WARM_UP = 0.2
# Niceness of who yields to all others: the teacher, and executors of jobs.
LOWEST_PRIORITY = 19
# Seconds between samples: so many points at most.
MOST_SAMPLES = 720


@dataclass
class Samples:
    """Of one process.

    Attributes:
        name: what it is.
        seconds: from the beginning, of each sample.
        rss: bytes of memory that it has.
        cpu: seconds of processors that it has had.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def growth(samples: Samples, run: float, shortest: float = SHORTEST) -> float | None:
    """By what share a process has grown since it was warm; negative: it has shrunk.

    Both ends are medians of a tenth of what follows the warm-up, since collections of garbage come
    and go. None: the run was too short, or the process was not there all the while.
    """
    warm = [
        (at, rss)
        for at, rss in zip(samples.seconds, samples.rss, strict=True)
        if at >= WARM_UP * run
    ]
    if run < shortest or len(warm) < 10:
        return None
    lasted = (1 - WARM_UP) * run
    if warm[0][0] > WARM_UP * run + 0.1 * lasted or warm[-1][0] < run - 0.1 * lasted:
        return None
    tenth = max(1, len(warm) // 10)
    first = statistics.median(rss for _, rss in warm[:tenth])
    last = statistics.median(rss for _, rss in warm[-tenth:])
    return last / first - 1


class Watch:
    """Samples a server's processes, from a thread, until it is ended.

    Args:
        pid: of the server's first process; None: the server is on another machine, and nothing is
            sampled.
        workers: of the processes that answer.
        seconds: that the run is to last.
    """

    def __init__(self, pid: int | None, workers: Collection[int], seconds: float) -> None:
        self._pid, self._workers, self._began = pid, workers, time.monotonic()
        self._every = max(1.0, seconds / MOST_SAMPLES)
        self._found: dict[int, Samples] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._pid is not None:
            self._sample(psutil.Process(self._pid))
            if self._stop.wait(self._every):
                return

    def _sample(self, server: psutil.Process) -> None:
        now = time.monotonic() - self._began
        with suppress(psutil.Error):
            for each in [server, *server.children(recursive=True)]:
                with suppress(psutil.Error):
                    samples = self._found.get(each.pid)
                    if samples is None:
                        samples = self._found[each.pid] = Samples(UNKNOWN)
                    # It may not have opened yet what it is known by.
                    if samples.name in (UNKNOWN, "teacher"):
                        samples.name = role(each, server.pid, self._workers)
                    times = each.cpu_times()
                    samples.seconds.append(now)
                    samples.rss.append(each.memory_info().rss)
                    samples.cpu.append(times.user + times.system)

    def end(self) -> list[Samples]:
        """Sample no more; by process, the server's first, names told apart by numbers."""
        self._stop.set()
        self._thread.join()
        return named(list(self._found.values()))


def named(found: Sequence[Samples]) -> list[Samples]:
    """The same, with a number behind names that several have."""
    names = [each.name for each in found]
    seen: dict[str, int] = {}
    for each in found:
        if names.count(each.name) > 1:
            seen[each.name] = seen.get(each.name, 0) + 1
            each.name = f"{each.name} {seen[each.name]}"
    return list(found)


UNKNOWN = "process"


def role(process: psutil.Process, server: int, workers: Collection[int]) -> str:
    """What one of the server's processes is there for, as far as can be told from outside."""
    if process.pid == server:
        return "supervisor"
    if process.pid in workers:
        return "worker"
    files = [each.path for each in process.open_files()]
    if any(path.endswith("/ledger.lock") for path in files):
        return "books' keeper"
    if any("/owners/" in path for path in files):
        return "executor"
    return "teacher" if process.nice() == LOWEST_PRIORITY else UNKNOWN
