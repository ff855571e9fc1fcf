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
    """Give a thread (0: this one) idle priority: it runs only while no other process would."""
    with contextlib.suppress(OSError):  # a container may forbid it
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def all_yield_to_all() -> None:
    """Give every thread of this process, and all that they start, idle priority."""
    for thread in os.listdir("/proc/self/task"):
        yield_to_all(int(thread))


def step_back() -> None:
    """Have this process not preempt others when it wakes, until `step_forward`; needs no rights."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def step_forward() -> None:
    """Give this process normal priority again."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def rest(worked: float, share: float) -> float:
    """Seconds to rest after `worked` seconds of work, so that work takes `share` of the time."""
    return worked * (1 - share) / share


class Turns:
    """Has processes load one at a time and slowly, so that others beside them answer undisturbed.

    Args:
        path: a file that all of them lock.
        share: part of the time in which one of them works; None: `SHARE`.
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
        # It keeps the lock while it rests: no other process is to load meanwhile.
        time.sleep(seconds)
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._take()


async def load(do: Callable[[Pause], T], turns: Turns | None) -> T:
    """Load in a thread, then freeze what was loaded for the garbage collector.

    Args:
        do: loads, and calls the function that it is given after each piece of work.
        turns: for loading beside processes that answer; None: as fast as possible.
    """

    def work() -> T:
        with contextlib.ExitStack() as stack:
            pause = no_pause if turns is None else stack.enter_context(turns)
            loaded = do(pause)
            # Everything so far stays for good: later collections need not look at it.
            gc.collect()
            gc.freeze()
            return loaded

    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, "loading", None if turns is None else yield_to_all)
    try:
        return await loop.run_in_executor(thread, work)
    finally:
        # A process that is told to stop while it loads does not wait for the thread.
        thread.shutdown(wait=False)


def no_pause() -> None:
    """Do nothing: there are no others to be considerate of."""
