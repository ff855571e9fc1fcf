"""Loading beside processes that answer: with what they leave of the processors.

A priority is a thread's, on Linux. Only the thread that loads has the lowest one, and is gone when
it is done: the process itself never had it, and so needs no privilege to be rid of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def yield_to_all() -> None:
    """Run, in this thread, only while nobody else would."""
    with contextlib.suppress(OSError):  # a container may forbid it
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


async def load(do: Callable[[], T], quietly: bool) -> T:
    """Do it in a thread, then tidy up.

    Args:
        do: loads.
        quietly: whether others answer meanwhile, who are not to notice.
    """

    def work() -> T:
        loaded = do()
        # What has been made so far is here to stay: no collection need look at it again.
        gc.collect()
        gc.freeze()
        return loaded

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, "loading", yield_to_all if quietly else None) as thread:
        return await loop.run_in_executor(thread, work)
