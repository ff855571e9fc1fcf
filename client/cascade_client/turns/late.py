"""Decision not to send calls because others with as little time left were late.

A process whose callers make more calls than it can send falls behind, until each call is sent just
before its deadline: the process is busy with calls that will be late, and keeps up only because
even later calls are given up. Refusing a call costs it a hundredth of sending one. So of calls with
as little time left as late calls had, only a few are sent; the process catches up, and later calls
have more time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# A late call is evidence that up to this many times its remaining time is too little.
DOUBTFUL = 4.0
# All calls are sent whose remaining time, multiplied by this, is not too little.
ENOUGH = 1.5
# Weights of a late call and of one in time: if one in fifty is late, nothing is concluded; if one
# in ten is, a fifth of the calls is not sent; if one in four is, most are not.
LATE, IN_TIME = 0.25, 0.05
# Seconds in which knowledge fades to 1 / e, so that a client of few calls learns that they are in
# time again.
FADING = 0.5
# Least share of calls that is sent in any case, to detect that calls are in time again.
LEAST_SENT = 0.1


@dataclass(slots=True)
class TooLittle:
    """Record of how much remaining time was too little for calls of one kind.

    All times are seconds of one monotonic clock.

    Attributes:
        seconds: how little is too little, up to `DOUBTFUL` times what late calls had; fades.
    """

    seconds: float = 0.0
    _since: float = 0.0

    def share(self, now: float, left: float) -> float:
        """Return the share of calls with this remaining time that is sent, in (0, 1]."""
        self._fade(now)
        if left * ENOUGH >= self.seconds:
            return 1.0
        return LEAST_SENT if left <= 0 else max(LEAST_SENT, 1 + ENOUGH - self.seconds / left)

    def learn(self, now: float, left: float, in_time: bool) -> None:
        """Record the end of a call that was sent with this remaining time."""
        self._fade(now)
        if in_time:
            self.seconds -= IN_TIME * self.seconds
        elif left > 0:
            self.seconds += LATE * max(0.0, DOUBTFUL * left - self.seconds)

    def _fade(self, now: float) -> None:
        if now > self._since:
            self.seconds *= math.exp((self._since - now) / FADING)
            self._since = now
