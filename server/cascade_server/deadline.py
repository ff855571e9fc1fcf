"""Absolute deadlines on the monotonic clock."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cascade_server.errors import DeadlinePassed

LATE = "the deadline passed before the work was done"


@dataclass(frozen=True)
class Work:
    """One request's permission to go on.

    Attributes:
        deadline: seconds on `clock`; infinite where the caller set none.
        clock: monotonic seconds.
    """

    deadline: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def within(
        cls,
        remaining: float | None,
        timeout_microseconds: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> Work:
        """From what gRPC says remains (None: no deadline) and the request's own timeout."""
        seconds = math.inf if remaining is None else remaining
        if timeout_microseconds:
            seconds = min(seconds, timeout_microseconds / 1e6)
        return cls(clock() + seconds, clock=clock)

    @classmethod
    def until(
        cls,
        deadline: float,
        timeout_microseconds: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> Work:
        """From the call's own deadline and the request's timeout, from now on."""
        if timeout_microseconds:
            deadline = min(deadline, clock() + timeout_microseconds / 1e6)
        return cls(deadline, clock=clock)

    def remaining(self) -> float:
        """Seconds to the deadline; infinite where there is none."""
        return self.deadline - self.clock()

    def check(self) -> None:
        """Called before each piece of work.

        Raises:
            DeadlinePassed: there is no point in going on.
        """
        if self.clock() >= self.deadline:
            raise DeadlinePassed(LATE)


@asynccontextmanager
async def bounded(
    deadline: float, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[None]:
    """Wait in the block until a deadline and no longer, whatever is waited for: a process that
    stands still cannot say itself that it is too late. What is underway then is cancelled.

    No TimeoutError leaves the block for that: who waits further out may mean another thing by one.

    Args:
        deadline: seconds on `clock`; infinite where there is none.
        clock: monotonic seconds.

    Raises:
        DeadlinePassed: it passed, or had before the block began.
    """
    if math.isinf(deadline):
        yield
        return
    left = deadline - clock()
    if left <= 0:
        raise DeadlinePassed(LATE)
    try:
        async with asyncio.timeout(left) as waiting:
            yield
    except TimeoutError:
        if not waiting.expired():
            raise
        raise DeadlinePassed(LATE) from None
