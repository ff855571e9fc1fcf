"""Loads slowly beside processes that answer, with the processor time that they leave.

On Linux, a thread has its own priority. Only the thread that loads has the lowest one, and it ends
when loading is done: the process as a whole keeps its priority, and so needs no privilege to
restore it. But the lowest priority alone still disturbs others: a busy processor switches to
another process with a delay, and caches are shared. So only one process loads at a time, and after
each piece of work it rests for nineteen times as long as that took.
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

# The share of the time that loading may take.
SHARE = 0.05


def yield_to_all(thread: int = 0) -> None:
    """Give a thread (0: this one) idle priority: it runs only if no other process wants to."""
    with contextlib.suppress(OSError):  # a container may forbid it
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def all_yield_to_all() -> None:
    """Give every thread of this process, and all that they start, idle priority."""
    for thread in os.listdir("/proc/self/task"):
        yield_to_all(int(thread))


def step_back() -> None:
    """Stop this process from preempting others when it wakes, until `step_forward`.

    This needs no privilege.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def step_forward() -> None:
    """Give this process normal priority again."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def rest(worked: float, share: float) -> float:
    """Return the seconds to rest after `worked` seconds, so that work takes `share` of the time."""
    return worked * (1 - share) / share


class Turns:
    """Lets processes load one at a time and slowly, so that others can answer undisturbed.

    Args:
        path: a file that all of them lock.
        share: share of the time in which one of them works; None for `SHARE`.
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
        # It keeps the lock while it rests, so that no other process loads in that time.
        time.sleep(seconds)
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._take()


async def load(do: Callable[[Pause], T], turns: Turns | None) -> T:
    """Load in a thread, then freeze the loaded objects for the garbage collector.

    Args:
        do: loads, and calls its argument after each piece of work.
        turns: for loading beside processes that answer; None for full speed.
    """

    def work() -> T:
        with contextlib.ExitStack() as stack:
            pause = no_pause if turns is None else stack.enter_context(turns)
            loaded = do(pause)
            # All objects so far stay for good, so later collections need not look at them.
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
    """Do nothing: there are no other processes to spare."""
