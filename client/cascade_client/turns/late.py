"""Which calls are not sent since others with as little time left came late; a pure decision.

A process whose callers ask for more than it can send falls behind, and then each call is sent just
before its deadline: the process is busy with calls that come late, and falls no further behind only
because those that are later still are given up. A call that is refused costs it a hundredth. So of
calls with as little time left as others had that came late few are sent, the process catches up,
and those that come after have more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# A call that came late says that up to so many times the time that it had left is too little.
DOUBTFUL = 4.0
# All calls are sent for which so many times what they have left is not too little.
ENOUGH = 1.5
# Weight of a call that came late, and of one that was in time: where one of fifty is late nothing
# is concluded, where one of ten is a fifth of the calls is not sent, where one of four is, most.
LATE, IN_TIME = 0.25, 0.05
# Seconds in which what is known fades to 1 / e: a client of few calls learns by it that they are in
# time again.
FADING = 0.5
# Of all calls, those that are sent whatever was late: what is in time again is found out.
LEAST_SENT = 0.1


@dataclass(slots=True)
class TooLittle:
    """Remembers with how much time left calls of one kind came late.

    All times are seconds of one monotonic clock.

    Attributes:
        seconds: how little is too little, up to `DOUBTFUL` times what late calls had; fades.
    """

    seconds: float = 0.0
    _since: float = 0.0

    def share(self, now: float, left: float) -> float:
        """Of the calls that have so much time left, how many are sent, in (0, 1]."""
        self._fade(now)
        if left * ENOUGH >= self.seconds:
            return 1.0
        return LEAST_SENT if left <= 0 else max(LEAST_SENT, 1 + ENOUGH - self.seconds / left)

    def learn(self, now: float, left: float, in_time: bool) -> None:
        """A call has ended that was sent with so much time left."""
        self._fade(now)
        if in_time:
            self.seconds -= IN_TIME * self.seconds
        elif left > 0:
            self.seconds += LATE * max(0.0, DOUBTFUL * left - self.seconds)

    def _fade(self, now: float) -> None:
        if now > self._since:
            self.seconds *= math.exp((self._since - now) / FADING)
            self._since = now
