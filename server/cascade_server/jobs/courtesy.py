"""How many processors an executor takes: all that are idle, or one while calls are answered.

The lowest priority does not make a neighbour unnoticed. A processor that is busy, with whatever, is
later to answer than one that is not, and caches are shared. So while calls come in real time, the
threads of an executor take turns, and one processor fewer has something to do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Seconds after the last call for which threads take turns, and between looks for calls.
HOLD, LOOK = 1.0, 0.005


class Courtesy:
    """Lets the threads of one executor work, at once or one after another.

    Args:
        answered: how many calls have been answered in real time so far, by all processes of the
            server.
        clock: monotonic seconds.
    """

    def __init__(
        self, answered: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._answered, self._clock = answered, clock
        self._number, self._look_at = answered(), 0.0
        self._until = float("-inf")
        self._one_at_a_time = threading.Lock()

    def is_due(self) -> bool:
        """Whether calls are being answered, or were a moment ago."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK
            number = self._answered()
            if number != self._number:
                self._number, self._until = number, now + HOLD
        return now < self._until

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A piece of work, of some milliseconds: alone, while calls are answered."""
        if not self.is_due():
            yield
            return
        with self._one_at_a_time:
            yield
