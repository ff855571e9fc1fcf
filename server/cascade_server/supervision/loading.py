"""Loading beside processes that answer: little at a time, with what they leave of the processors.

A priority is a thread's, on Linux. Only the thread that loads has the lowest one, and is gone when
it is done: the process itself never had it, and so needs no privilege to be rid of it. But the
lowest priority alone does not make a neighbour unnoticed: a processor that is busy is not woken up
in time, and caches are shared. So of all processes that load, one does at a time, and rests after
each piece of work for nineteen times as long as that took.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Pause = Callable[[], None]

# Of the time, the part in which something is loaded.
SHARE = 0.05


def yield_to_all(thread: int = 0) -> None:
    """Run, in this thread or another, only while nobody else would."""
    with contextlib.suppress(OSError):  # a container may forbid it
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def all_yield_to_all() -> None:
    """Likewise in every thread of this process, and those that they start."""
    for thread in os.listdir("/proc/self/task"):
        yield_to_all(int(thread))


def step_back() -> None:
    """Interrupt nobody, in this whole process, until `step_forward`; anybody may do both."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def step_forward() -> None:
    """Be as others again."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def rest(worked: float, share: float) -> float:
    """Seconds to rest after so many of work, so that `share` of the time is spent on it."""
    return worked * (1 - share) / share


class Turns:
    """Turns of processes that load beside others.

    Args:
        path: a file that all of them lock.
        share: of the time, the part in which something is loaded; `SHARE` by default.
    """

    def __init__(self, path: Path, share: float | None = None) -> None:
        self._path, self._share = path, SHARE if share is None else share

    def __enter__(self) -> Pause:
        self._file = self._path.open("w")
        self._take()
        return self._pause

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _take(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._began = time.thread_time()

    def _pause(self) -> None:
        seconds = rest(time.thread_time() - self._began, self._share)
        # Resting with the turn in hand: nobody else loads meanwhile.
        time.sleep(seconds)
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._take()


async def load(do: Callable[[Pause], T], turns: Turns | None) -> T:
    """Load in a thread, then tidy up.

    Args:
        do: loads, and calls what it is given after each piece of work.
        turns: how, beside others who answer and are not to notice; None: as fast as it goes.
    """

    def work() -> T:
        with contextlib.ExitStack() as stack:
            pause = no_pause if turns is None else stack.enter_context(turns)
            loaded = do(pause)
            # What has been made so far is here to stay: no collection need look at it again.
            gc.collect()
            gc.freeze()
            return loaded

    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, "loading", None if turns is None else yield_to_all)
    try:
        return await loop.run_in_executor(thread, work)
    finally:
        # Who is told to stop while it loads does not wait until it has.
        thread.shutdown(wait=False)


def no_pause() -> None:
    """Go on at once: nobody answers beside who loads."""
