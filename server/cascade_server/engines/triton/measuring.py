"""When to measure a network without a request.

Otherwise a server that was slow once would get no requests and count as slow for ever. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cascade_server.engines.teacher import MEASURE_SECONDS


@dataclass(frozen=True)
class Measuring:
    """How often one of several workers measures; each learns only from its own measurements.

    All workers ask the same servers. They take turns, so that an idle network is measured as often
    as by a single worker.

    Attributes:
        workers: how many there are, >= 1.
        number: this worker's number, from 0.
        seconds: how long a network must be idle before it is measured.
    """

    workers: int = 1
    number: int = 0
    seconds: float = MEASURE_SECONDS

    def is_due(self, now: float, last: float) -> bool:
        """Return whether this worker should measure a network that last answered it at `last`.

        Args:
            now, last: seconds on a clock that all workers share.
        """
        return now - last >= self.seconds and self._turn(now) > self._turn(last)

    def _turn(self, when: float) -> float:
        """Count this worker's turns up to `when`; without a pause, each moment is one."""
        if self.seconds <= 0:
            return when
        return math.floor((when / self.seconds - self.number) / self.workers)
