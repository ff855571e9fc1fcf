"""Which calls are not sent since the server refuses most of what it is sent; a pure decision.

A refusal is cheap for the server, and not free: it costs the server a part of an answer, and the
caller nearly as much as an answer does. A client that is refused more often than it is answered
refuses the rest itself ("adaptive throttling", Site Reliability Engineering, chapter 21). It still
sends half as many calls again as are taken, so that it notices when more are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# How many calls are sent for one that the server takes.
SENT_FOR_ONE = 1.5
# Seconds in which what happened fades to 1 / e.
FADING = 1.0
# Of all calls, those that are sent whatever happened: a server that is well again is found out.
LEAST_SENT = 0.2
# Refusals of late, beside those that come with so many answers, that are tried again.
TRIED_AGAIN = 3.0
# Calls of late before anything is concluded from them.
ENOUGH = 10.0


@dataclass(slots=True)
class Throttle:
    """Remembers how a channel's calls of one kind ended, and says whether one more is to be sent.

    All times are seconds of one monotonic clock.

    Attributes:
        ended: calls that have ended lately, those that were not sent among them; fades.
        taken: those of them that the server has not refused.
    """

    ended: float = 0.0
    taken: float = 0.0
    _since: float = 0.0

    def tries_again(self, now: float) -> bool:
        """Whether a call that was refused may be tried again: each attempt is one more to refuse,
        and while there are many of them they only make more of them be refused."""
        self._fade(now)
        return self.ended - SENT_FOR_ONE * self.taken <= TRIED_AGAIN

    def share(self, now: float) -> float:
        """Of the calls that come, how many are sent, in (0, 1]."""
        self._fade(now)
        if self.ended < ENOUGH:
            return 1.0
        beyond = self.ended - SENT_FOR_ONE * self.taken
        return 1.0 if beyond <= 0 else max(LEAST_SENT, 1 - beyond / (self.ended + 1))

    def sends(self, now: float, lot: float) -> bool:
        """Whether a call that has come is to be sent; one that is not has ended.

        Every call has the same chance, whoever makes it and whatever became of those before. Would
        one in so many be sent, it would be the same caller's each time where callers come in turn.

        Args:
            now: when it has come.
            lot: a random number in [0, 1).
        """
        if lot < self.share(now):
            return True
        self.ended += 1
        return False

    def learn(self, now: float, taken: bool) -> None:
        """A call that was sent has ended, and the server had taken it or refused it."""
        self._fade(now)
        self.ended += 1
        self.taken += taken

    def _fade(self, now: float) -> None:
        if now > self._since:
            left = math.exp((self._since - now) / FADING)
            self.ended, self.taken, self._since = left * self.ended, left * self.taken, now
