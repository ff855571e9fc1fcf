"""Absolute deadlines on the monotonic clock, checked before work and enforced while waiting."""

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
    """The time that one request may still take.

    The deadline is fixed when the request arrives and passed on with it, so that time spent in one
    queue is missing in the next.

    Attributes:
        deadline: seconds on `clock`; infinite if the caller set none.
        clock: monotonic seconds.
    """

    deadline: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def from_remaining(
        cls,
        remaining: float | None,
        timeout_microseconds: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> Work:
        """Create a deadline from a call's remaining time, counted from now.

        Args:
            remaining: seconds left according to gRPC; None: the call has no deadline.
            timeout_microseconds: the request's own timeout; 0: none. The shorter one counts.
            clock: monotonic seconds.
        """
        seconds = math.inf if remaining is None else remaining
        if timeout_microseconds:
            seconds = min(seconds, timeout_microseconds / 1e6)
        return cls(clock() + seconds, clock=clock)

    @classmethod
    def from_deadline(
        cls,
        deadline: float,
        timeout_microseconds: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> Work:
        """Create a deadline from a call's absolute deadline.

        Args:
            deadline: seconds on `clock`; infinite if the call has none.
            timeout_microseconds: the request's own timeout, from now on; 0: none. The earlier of
                the two moments counts.
            clock: monotonic seconds.
        """
        if timeout_microseconds:
            deadline = min(deadline, clock() + timeout_microseconds / 1e6)
        return cls(deadline, clock=clock)

    def remaining(self) -> float:
        """Return the seconds to the deadline; infinite if there is none."""
        return self.deadline - self.clock()

    def check(self) -> None:
        """Raise if the deadline has passed; called before each piece of work.

        Raises:
            DeadlinePassed: the caller no longer waits for the result.
        """
        if self.clock() >= self.deadline:
            raise DeadlinePassed(LATE)


@asynccontextmanager
async def bounded(
    deadline: float, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[None]:
    """Cancel the block when a deadline passes, whatever it waits for.

    For waiting on another process, which may hang and then cannot itself report that it is late.
    The block then raises `DeadlinePassed`, not `TimeoutError`, which an enclosing block would take
    for its own timeout.

    Args:
        deadline: seconds on `clock`; infinite if there is none.
        clock: monotonic seconds.

    Raises:
        DeadlinePassed: the deadline passed in the block, or before it began.
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
