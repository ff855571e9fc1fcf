"""How much of the processors an executor takes: all that are idle, or little while calls come.

The lowest priority does not make a neighbour unnoticed. A processor that is busy, with whatever, is
later to answer than one that is not, and caches are shared. So while calls are answered in real
time the threads of an executor take turns, so that one processor fewer has something to do, and
rest after each: the more calls there are, the longer.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Seconds after the last call for which threads take turns, and between looks for calls.
HOLD, LOOK = 1.0, 0.005
# Calls a second from which on a job rests for as long as it may: RESTS times as long as it works.
# With fewer it rests less, in proportion.
MANY_CALLS, RESTS = 100.0, 7.0


class Courtesy:
    """Lets the threads of one executor work, at once or one after another with rests.

    Args:
        answered: how many calls have been answered in real time so far, by all processes of the
            server.
        clock: monotonic seconds.
        processor_clock: processor seconds of this thread. To wait for a processor is no work after
            which to rest.
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
        """Whether calls are being answered, or were a moment ago."""
        with self._looking:
            now = self._clock()
            if now >= self._look_at:
                number, elapsed = self._answered(), max(now - self._looked, LOOK)
                # A mean over about as long as courtesy lasts.
                weight = 1.0 - math.exp(-elapsed / HOLD)
                self._rate += weight * ((number - self._number) / elapsed - self._rate)
                if number != self._number:
                    self._until = now + HOLD
                self._number, self._looked, self._look_at = number, now, now + LOOK
            return now < self._until

    def rest_after(self, seconds: float) -> float:
        """Seconds to rest after so many of a processor; 0 where no calls come."""
        if not self.is_due():
            return 0.0
        return RESTS * min(1.0, self._rate / MANY_CALLS) * max(0.0, seconds)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A piece of work of some milliseconds; while calls are answered alone, and then a rest."""
        if not self.is_due():
            yield
            return
        with self._one_at_a_time:
            began = self._processor_clock()
            yield
            self._sleep(self.rest_after(self._processor_clock() - began))
