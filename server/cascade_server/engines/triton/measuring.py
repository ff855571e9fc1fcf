"""When a network is asked for nobody, to see what it takes: no one is sent to a server that was
slow, which would stay slow for ever; pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cascade_server.engines.teacher import MEASURE_SECONDS


@dataclass(frozen=True)
class Measuring:
    """How often one of several workers does so, each of whom learns for itself.

    They ask the same servers: each measures in its turn, so that a network that nobody asks is
    measured as often as by one alone.

    Attributes:
        workers: how many there are, >= 1.
        number: this one's, from 0.
        seconds: that nobody has asked a network before it is measured.
    """

    workers: int = 1
    number: int = 0
    seconds: float = MEASURE_SECONDS

    def is_due(self, now: float, last: float) -> bool:
        """Whether a network is to be measured that this worker last heard of then.

        Args:
            now, last: on a clock that all workers share.
        """
        return now - last >= self.seconds and self._turn(now) > self._turn(last)

    def _turn(self, when: float) -> float:
        """How many turns this worker has had by then; without any pause each moment is one."""
        if self.seconds <= 0:
            return when
        return math.floor((when / self.seconds - self.number) / self.workers)
