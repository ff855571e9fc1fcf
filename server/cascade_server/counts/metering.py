"""What this process computes, counted for whom it was, once with the answer.

What the event loop does for a turn of requests, reading them from their connections and writing to
these included, is measured once for the whole turn, and shared by what each of them took in it;
what is run in threads and in other processes is charged where it is run (`engines/spent.py`), and
travels with the request. What is nobody's stays in what the process has used in all.
"""

from __future__ import annotations

import asyncio
import mmap
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cascade_server.counts.shared.compute import ComputeCounts, UsageKey, Used
from cascade_server.counts.shared.process_usage import Held, ProcessPlace

# Between looks at what a process takes, and looks between one at its memory and the next.
SECONDS, LOOKS = 1.0, 10


class Answered(NamedTuple):
    """One request of a turn, as it was answered.

    Attributes:
        key: for whom.
        seconds: that it is known to have taken, of whatever was measured one request at a time.
        gpu_seconds: likewise, of a GPU.
        rows, tokens: of its answer, and what was drawn of them.
    """

    key: UsageKey
    seconds: float
    gpu_seconds: float
    rows: int
    tokens: int


def shares(seconds: Sequence[float], whole: float, requests: int) -> tuple[list[float], float]:
    """What each request of a turn is charged.

    Args:
        seconds: that each is known to have taken, by the wall's clock.
        whole: processor seconds of the turn and of what was done for it before.
        requests: how many it had, those included that were not answered.

    Returns:
        Processor seconds of each; and, of these, what all requests alike have taken beside what is
        known of them: also those that wait for their answer.
    """
    known = sum(seconds)
    # The wall's clock goes on while another process has the processor.
    scale = whole / known if known > whole else 1.0
    rest = max(0.0, whole - known) / max(1, requests)
    return [scale * each + rest for each in seconds], rest


class Metering:
    """Counts what the event loop of one process does, and what was done for it.

    Args:
        counts: where it is written down.
        clock: processor seconds of the event loop's thread. To look at it takes a microsecond, so
            that it is looked at once a turn.
    """

    def __init__(
        self, counts: ComputeCounts, clock: Callable[[], float] = time.thread_time
    ) -> None:
        self._counts, self._clock = counts, clock
        # Up to when all is accounted for.
        self._until = clock()

    def turn_ends(self, answered: Sequence[Answered], requests: int) -> float:
        """Count a turn, and what was done since the one before it: to read what it was asked, and
        to write what that one was answered.

        Args:
            answered: the requests that were.
            requests: all there were, also those that were refused or have to wait.

        Returns:
            As `shares`, what those are charged that wait.
        """
        now = self._clock()
        whole, self._until = now - self._until, now
        if requests == 1 and answered:
            # It was alone: all of it was for this one, whatever took how long.
            key, _, gpu_seconds, rows, tokens = answered[0]
            self._counts.add(key, Used(whole, gpu_seconds, 1, rows, tokens))
            return 0.0
        charged, rest = shares([each.seconds for each in answered], whole, requests)
        for each, seconds in zip(answered, charged, strict=True):
            self._counts.add(each.key, Used(seconds, each.gpu_seconds, 1, each.rows, each.tokens))
        return rest

    def apart(self, seconds: float) -> None:
        """So many processor seconds of the event loop since the last turn are accounted for."""
        self._until = min(self._until + seconds, self._clock())

    def is_nobodys(self) -> None:
        """What was done since the last turn was for no request: the server's own housekeeping."""
        self._until = self._clock()

    def add(self, answered: Answered) -> None:
        """Count one answer that was waited for, or a part of one."""
        key, seconds, gpu_seconds, rows, tokens = answered
        self._counts.add(key, Used(seconds, gpu_seconds, 1, rows, tokens))


def memory_bytes() -> int:
    """Of this process; what it shares with others counts in parts, so that all of them add up."""
    try:
        with open("/proc/self/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return 1024 * int(line.split()[1])
    except OSError:  # another system, or a kernel that does not tell
        pass
    try:
        with open("/proc/self/statm", "rb") as file:
            return mmap.PAGESIZE * int(file.read().split()[1])
    except OSError:
        return 0


class ProcessMeter:
    """Says now and then what this process takes, for as long as it lives.

    Args:
        place: where it is said.
        inner: bytes that pool and cache have of its memory.
        looked: is called with every look.
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
        """Begin to look; inside an event loop."""
        self._place.succeed()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Say it a last time: the process ends."""
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
                # The kernel goes through all of the memory for it, which takes a millisecond.
                memory = await loop.run_in_executor(None, memory_bytes)
                self._place.holds(Held(memory, *self._inner()), self._elapsed())
            self._looked()
            looks += 1
            await asyncio.sleep(SECONDS)

    def _elapsed(self) -> float:
        now = time.monotonic()
        elapsed, self._measured = now - self._measured, now
        return elapsed
