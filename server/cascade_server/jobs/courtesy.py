"""How much processor time an executor uses: all that is idle, but little while calls arrive.

The lowest priority alone still disturbs others: a busy processor answers later than an idle one,
and caches are shared. So while real-time calls are answered, the threads of an executor take turns,
which leaves one more processor idle, and rest after each turn; the more calls, the longer.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Seconds after the last call in which threads take turns, and between checks for calls.
HOLD, LOOK = 1.0, 0.005
# From this many calls a second on, a job rests for the longest time: RESTS times as long as it
# works. With fewer calls it rests less, in proportion.
MANY_CALLS, RESTS = 100.0, 7.0


class Courtesy:
    """Lets the threads of one executor work: at the same time, or in turns with rests.

    Args:
        answered: returns the number of real-time calls answered so far by all processes of the
            server.
        clock: monotonic seconds.
        processor_clock: processor seconds of this thread. Time spent waiting for a processor is not
            work, and needs no rest.
        sleep: rests for so many seconds.
    """

    def __init__(
        self,
        answered: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        processor_clock: Callable[[], float] = time.thread_time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._answered, self._clock = answered, clock
        self._processor_clock, self._sleep = processor_clock, sleep
        self._number, self._looked, self._look_at = answered(), clock(), float("-inf")
        self._until, self._rate = float("-inf"), 0.0
        self._one_at_a_time, self._looking = threading.Lock(), threading.Lock()

    def is_due(self) -> bool:
        """Return whether calls are being answered, or were a moment ago."""
        with self._looking:
            now = self._clock()
            if now >= self._look_at:
                number, elapsed = self._answered(), max(now - self._looked, LOOK)
                # The average covers about as long as courtesy lasts.
                weight = 1.0 - math.exp(-elapsed / HOLD)
                self._rate += weight * ((number - self._number) / elapsed - self._rate)
                if number != self._number:
                    self._until = now + HOLD
                self._number, self._looked, self._look_at = number, now, now + LOOK
            return now < self._until

    def rest_after(self, seconds: float) -> float:
        """Return the seconds to rest after so many processor seconds; 0 if there are no calls."""
        if not self.is_due():
            return 0.0
        return RESTS * min(1.0, self._rate / MANY_CALLS) * max(0.0, seconds)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Do a piece of work of some milliseconds in the block.

        While calls are answered, it runs alone and a rest follows.
        """
        if not self.is_due():
            yield
            return
        with self._one_at_a_time:
            began = self._processor_clock()
            yield
            self._sleep(self.rest_after(self._processor_clock() - began))
