"""Absolute deadlines on the monotonic clock, and the signal that a caller is gone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from cascade_server.errors import CallerGone, DeadlinePassed


@dataclass
class Work:
    """One request's permission to go on.

    Attributes:
        deadline: seconds on `clock`; infinite where the caller set none.
        gone: the caller hung up; set from the event loop, read from worker threads.
        clock: monotonic seconds.
    """

    deadline: float
    gone: bool = False
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

    def check(self, _step: int = 0) -> None:
        """Called before each piece of work.

        Raises:
            DeadlinePassed, CallerGone: there is no point in going on.
        """
        if self.gone:
            raise CallerGone("the caller hung up")
        if self.clock() >= self.deadline:
            raise DeadlinePassed("the deadline passed before the work was done")
