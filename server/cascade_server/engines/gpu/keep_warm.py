"""A small run whenever a GPU has been idle for a while, so that it keeps its clocks.

A GPU that has nothing to do lowers its clocks within a second or so, and the call that comes then
pays for the way back (onnxruntime #13366). `due` is the decision; `KeepWarm` the thread around it.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("cascade.server")

# Idle seconds after which a tick is due; a tick is one row of the student.
EVERY = 0.25


class Ticked(Protocol):
    """What is kept warm."""

    last_run: float

    def tick(self) -> None:
        """Run the smallest network once, so that the GPU does not lower its clocks."""


def due(now: float, last_run: float, every: float) -> float:
    """Seconds until a tick is due; 0: it is."""
    return max(0.0, last_run + every - now)


class KeepWarm:
    """Ticks for as long as somebody else holds what is kept warm.

    Args:
        what: is held weakly.
        every: idle seconds before a tick.
        clock: monotonic seconds, that of `what.last_run`.
        wait: waits some seconds; true: stop.
    """

    def __init__(
        self,
        what: Ticked,
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._what = weakref.ref(what)
        self._every, self._clock = every, clock
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait

    def start(self) -> None:
        """Tick in a thread that ends with the process."""
        threading.Thread(target=self.run, name="keep-warm", daemon=True).start()

    def stop(self) -> None:
        """End the ticks; a run that is under way is waited for."""
        self._stopped.set()

    def run(self) -> None:
        """Tick until `stop`, or until nobody holds what is kept warm."""
        left = self._every
        while not self._wait(left):
            kept_warm = self._what()
            if kept_warm is None:
                return
            left = due(self._clock(), kept_warm.last_run, self._every)
            if left == 0:
                try:
                    kept_warm.tick()
                except Exception:  # a call that comes will fail by itself, and say so to its caller
                    log.exception("the GPU is kept warm no more")
                    return
                left = self._every
            del kept_warm  # not held while waiting
