"""Unix seconds that advance evenly, even if the wall clock is set.

Counts age by the time that has passed. The wall clock does not measure that: somebody may set it,
by an hour for two seconds, or by a month. Counts that aged by it would be lost for good, and
setting the clock right again would not bring them back. So a server reads the wall clock once when
it starts, and from then on uses a clock that cannot be set. Times that leave the server, in its
file or for people to read, are the wall clock's again.

All processes of a server share one: it is created before they fork, and a process that sees a step
of the wall clock before the others does nothing about it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

# A clock that cannot be set, is the same in all processes, and advances while the machine is
# suspended, so that counts age meanwhile. It exists on Linux; elsewhere, one that stops while the
# machine is suspended.
since_boot: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)
# The wall clock may be off by this many seconds before a step counts: for leap seconds, and for the
# difference between readings of two clocks.
LEAST_STEP = 3.0


class SteadyClock:
    """Returns Unix seconds as if the wall clock had not been set since this was created.

    Args:
        wall: Unix seconds.
        steady: seconds of a clock that cannot be set.

    Attributes:
        now: returns them too, in less time, for callers that need them with every answer.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = since_boot,
    ) -> None:
        self._wall = wall
        began = wall() - steady()

        def now() -> float:
            return began + steady()

        self.now = now

    @classmethod
    def of(cls, clock: Callable[[], float]) -> SteadyClock:
        """Return one that follows another clock, which is trusted to advance evenly."""
        return clock if isinstance(clock, cls) else cls(clock, clock)

    def __call__(self) -> float:
        return self.now()

    def ahead(self) -> int:
        """Seconds by which the wall clock has been set ahead since; negative if set back."""
        step = self._wall() - self()
        return round(step) if abs(step) >= LEAST_STEP else 0

    def wall(self) -> float:
        """Return the wall clock's time, as it is now set, for people and files."""
        return self() + self.ahead()
