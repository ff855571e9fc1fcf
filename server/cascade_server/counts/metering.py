"""Counts what this process computes and for whom, once the request has been answered.

The event loop's work for a turn of requests, including reading from and writing to their
connections, is measured once per turn, and divided in proportion to each request's known time. Work
in threads and in other processes is charged where it runs (`engines/spent.py`), and the charge
travels with the request. Work for no request appears only in the total of the process.
"""

from __future__ import annotations

import asyncio
import mmap
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cascade_server.counts.shared.compute import ComputeCounts, UsageKey, Used
from cascade_server.counts.shared.process_usage import Held, ProcessPlace

# Seconds between checks of the process, and number of checks from one of its memory to the next.
SECONDS, LOOKS = 1.0, 10


class Answered(NamedTuple):
    """One answered request of a turn.

    Attributes:
        key: whose usage it is.
        seconds: its known time, from what is measured for single requests.
        gpu_seconds: its known time on a GPU.
        rows, tokens: rows of its answer, and tokens drawn for them.
    """

    key: UsageKey
    seconds: float
    gpu_seconds: float
    rows: int
    tokens: int


def shares(seconds: Sequence[float], whole: float, requests: int) -> tuple[list[float], float]:
    """Divide the time of a turn among its requests.

    Args:
        seconds: known time of each answered request, by the wall clock.
        whole: processor seconds of the turn and of the work before it.
        requests: all requests of the turn, including those that were not answered.

    Returns:
        Processor seconds of each answered request; and the part that every request is charged
        equally beyond its known time, including those that wait for their answer.
    """
    known = sum(seconds)
    # The wall clock goes on while another process has the processor.
    scale = whole / known if known > whole else 1.0
    rest = max(0.0, whole - known) / max(1, requests)
    return [scale * each + rest for each in seconds], rest


class Metering:
    """Counts the work of one process's event loop, and work done for it elsewhere.

    Args:
        counts: where the counts are stored.
        clock: processor seconds of the event loop's thread. Reading it takes a microsecond, so it
            is read once per turn.
    """

    def __init__(
        self, counts: ComputeCounts, clock: Callable[[], float] = time.thread_time
    ) -> None:
        self._counts, self._clock = counts, clock
        # The time up to which everything is accounted for.
        self._until = clock()

    def turn_ends(self, answered: Sequence[Answered], requests: int) -> float:
        """Count a turn, and the work since the last turn.

        That work includes reading this turn's requests and writing the last turn's answers.

        Args:
            answered: the requests that were answered.
            requests: all requests, including those that were refused or wait.

        Returns:
            The charge of each waiting request; see `shares`.
        """
        now = self._clock()
        whole, self._until = now - self._until, now
        if requests == 1 and answered:
            # It was alone, so it is charged everything.
            key, _, gpu_seconds, rows, tokens = answered[0]
            self._counts.add(key, Used(whole, gpu_seconds, 1, rows, tokens))
            return 0.0
        charged, rest = shares([each.seconds for each in answered], whole, requests)
        for each, seconds in zip(answered, charged, strict=True):
            self._counts.add(each.key, Used(seconds, each.gpu_seconds, 1, each.rows, each.tokens))
        return rest

    def apart(self, seconds: float) -> None:
        """Note that so many processor seconds since the last turn are already accounted for."""
        self._until = min(self._until + seconds, self._clock())

    def is_nobodys(self) -> None:
        """Charge the work since the last turn to no request: it was housekeeping."""
        self._until = self._clock()

    def add(self, answered: Answered) -> None:
        """Count one answer, or a part of one, that was waited for."""
        key, seconds, gpu_seconds, rows, tokens = answered
        self._counts.add(key, Used(seconds, gpu_seconds, 1, rows, tokens))


def memory_bytes() -> int:
    """Return this process's memory in bytes; shared pages are divided among their processes."""
    try:
        with open("/proc/self/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return 1024 * int(line.split()[1])
    except OSError:  # another system, or a kernel that does not report it
        pass
    try:
        with open("/proc/self/statm", "rb") as file:
            return mmap.PAGESIZE * int(file.read().split()[1])
    except OSError:
        return 0


class ProcessMeter:
    """Regularly reports what this process uses, for as long as it lives.

    Args:
        place: where to report it.
        inner: returns the bytes of its memory that pool and cache hold.
        looked: called at every report.
    """

    def __init__(
        self,
        place: ProcessPlace,
        inner: Callable[[], tuple[int, int]] = lambda: (0, 0),
        looked: Callable[[], None] = lambda: None,
    ) -> None:
        self._place, self._inner, self._looked = place, inner, looked
        self._task: asyncio.Task[None] | None = None
        self._measured = time.monotonic()

    def start(self) -> None:
        """Start reporting; call it inside an event loop."""
        self._place.succeed()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Report a last time, since the process ends."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        self._place.uses(time.process_time())
        self._place.holds(Held(memory_bytes(), *self._inner()), self._elapsed())
        self._place.leave()

    async def _run(self) -> None:
        loop, looks = asyncio.get_running_loop(), 0
        while True:
            self._place.uses(time.process_time())
            if looks % LOOKS == 0:
                # The kernel walks through all of the memory for this, which takes a millisecond.
                memory = await loop.run_in_executor(None, memory_bytes)
                self._place.holds(Held(memory, *self._inner()), self._elapsed())
            self._looked()
            looks += 1
            await asyncio.sleep(SECONDS)

    def _elapsed(self) -> float:
        now = time.monotonic()
        elapsed, self._measured = now - self._measured, now
        return elapsed
