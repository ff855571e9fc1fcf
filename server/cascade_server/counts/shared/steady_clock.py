"""Unix seconds that go on evenly, whatever becomes of the wall clock.

What is counted grows old, and that is a matter of how much time has passed. The wall clock does not
say that: it is set, by an hour for two seconds, or by a month. Counts that grew old by it would be
gone for good, and a page with them; set right, it would not bring them back. So the time is taken
from the wall clock once, when a server begins, and from then on from a clock that nobody sets.
Where times leave the server, in its file and in what people read, they are the wall clock's again.

All processes of a server have the same one: it is made before they part, and a process that sees a
step of the wall clock before the others do does nothing about it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

# A clock that nobody sets, the same in all processes, and which goes on while the machine is
# suspended: what was counted before has grown old then. Where there is none such (it is Linux's),
# one that stands still meanwhile.
since_boot: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)
# Seconds by which the wall clock may be off before that is told apart from none: leap seconds, and
# what two readings of two clocks differ by.
LEAST_STEP = 3.0


class SteadyClock:
    """Tells Unix seconds, as if the wall clock had not been set since this was made.

    Args:
        wall: Unix seconds.
        steady: seconds of a clock that nobody sets.

    Attributes:
        now: tells them too, in less time, for who asks with every answer.
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
        """One that says what another clock says, which is trusted to go on evenly."""
        return clock if isinstance(clock, cls) else cls(clock, clock)

    def __call__(self) -> float:
        return self.now()

    def ahead(self) -> int:
        """Seconds by which the wall clock has been set ahead since; below 0: back."""
        step = self._wall() - self()
        return round(step) if abs(step) >= LEAST_STEP else 0

    def wall(self) -> float:
        """As people have it, and files: the wall clock, as it is set now."""
        return self() + self.ahead()
