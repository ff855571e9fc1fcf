"""Makes a small run whenever a GPU has been idle for a while, so that its clocks stay high.

An idle GPU lowers its clocks within a second or so, and the next call then pays for raising them
(onnxruntime #13366). `due` is the decision; `KeepWarm` is the thread around it.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("cascade.server")

# Idle seconds after which a tick is due. A tick draws one row with the student.
EVERY = 0.25


class Ticked(Protocol):
    """What is kept warm."""

    last_run: float

    def tick(self) -> None:
        """Run the smallest network once, so that the GPU does not lower its clocks."""


def due(now: float, last_run: float, every: float) -> float:
    """Return the seconds until a tick is due; 0 if it is due now."""
    return max(0.0, last_run + every - now)


class KeepWarm:
    """Ticks for as long as something else holds a reference to the object kept warm.

    Args:
        what: the object to keep warm, held weakly.
        every: idle seconds before a tick.
        clock: monotonic seconds, the clock of `what.last_run`.
        wait: waits some seconds; returns true to stop.
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
        """Start ticking in a thread that ends with the process."""
        threading.Thread(target=self.run, name="keep-warm", daemon=True).start()

    def stop(self) -> None:
        """Stop ticking, and wait for a tick that is running."""
        self._stopped.set()

    def run(self) -> None:
        """Tick until `stop`, or until nothing else holds the object."""
        left = self._every
        while not self._wait(left):
            kept_warm = self._what()
            if kept_warm is None:
                return
            left = due(self._clock(), kept_warm.last_run, self._every)
            if left == 0:
                try:
                    kept_warm.tick()
                except Exception:  # the next call fails in the same way, and tells its caller
                    log.exception("the GPU is kept warm no more")
                    return
                left = self._every
            del kept_warm  # no strong reference while waiting
