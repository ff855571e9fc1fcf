"""Decision not to send calls because the server refuses most of them.

A refusal is cheap for the server, but not free: it costs the server a part of an answer, and the
caller nearly as much as an answer. A client that is refused more often than it is answered refuses
the rest itself ("adaptive throttling", Site Reliability Engineering, chapter 21). It still sends
half as many calls again as are accepted, to notice when more are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# Calls sent per call that the server accepts.
SENT_FOR_ONE = 1.5
# Seconds in which the record fades to 1 / e.
FADING = 1.0
# Least share of calls that is sent in any case, to detect a recovered server.
LEAST_SENT = 0.2
# Recent refusals that are retried, beyond those expected with this many answers.
TRIED_AGAIN = 3.0
# Recent calls needed before anything is concluded.
ENOUGH = 10.0


@dataclass(slots=True)
class Throttle:
    """Record of how a channel's calls of one kind ended, which decides whether to send another.

    All times are seconds of one monotonic clock.

    Attributes:
        ended: calls that have ended recently, including those that were not sent; fades.
        taken: those of them that the server has not refused.
    """

    ended: float = 0.0
    taken: float = 0.0
    _since: float = 0.0

    def tries_again(self, now: float) -> bool:
        """Return whether a refused call may be retried.

        Each attempt is one more call to refuse; among many refusals, retries only cause more.
        """
        self._fade(now)
        return self.ended - SENT_FOR_ONE * self.taken <= TRIED_AGAIN

    def share(self, now: float) -> float:
        """Return the share of new calls that is sent, in (0, 1]."""
        self._fade(now)
        if self.ended < ENOUGH:
            return 1.0
        beyond = self.ended - SENT_FOR_ONE * self.taken
        return 1.0 if beyond <= 0 else max(LEAST_SENT, 1 - beyond / (self.ended + 1))

    def sends(self, now: float, lot: float) -> bool:
        """Return whether to send a new call; a call that is not sent counts as ended.

        Every call has the same chance, whoever makes it and whatever happened before. If every n-th
        call were sent instead, callers that come in turn would always see the same one succeed.

        Args:
            now: when it has come.
            lot: a random number in [0, 1).
        """
        if lot < self.share(now):
            return True
        self.ended += 1
        return False

    def learn(self, now: float, taken: bool) -> None:
        """Record the end of a sent call, which the server accepted or refused."""
        self._fade(now)
        self.ended += 1
        self.taken += taken

    def _fade(self, now: float) -> None:
        if now > self._since:
            left = math.exp((self._since - now) / FADING)
            self.ended, self.taken, self._since = left * self.ended, left * self.taken, now
