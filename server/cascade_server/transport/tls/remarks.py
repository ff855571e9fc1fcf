"""Logs failed connections, at a limited rate for each reason."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger("cascade.server")

SECONDS = 30.0
# Most reasons that are counted separately; further ones share one count.
MOST_KINDS = 32


class Remarks:
    """Logs why connections were refused: for each reason now and then, with the number since.

    Args:
        seconds: time between two lines of one reason.
        clock: monotonic seconds.
        say: writes a line.
    """

    def __init__(
        self,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], object] = log.warning,
    ) -> None:
        self._seconds, self._clock, self._say = seconds, clock, say
        # By reason: the time of the last line, and the number of refusals since.
        self._said: dict[str, tuple[float, int]] = {}

    def refused(self, address: str, why: str) -> None:
        """Log a connection that was refused, or that its peer gave up before any call."""
        if why not in self._said and len(self._said) >= MOST_KINDS:
            why = "another reason"
        now = self._clock()
        last, more = self._said.get(why, (-float("inf"), 0))
        if now - last < self._seconds:
            self._said[why] = last, more + 1
            return
        self._said[why] = now, 0
        others = f" ({more} more since this was last said)" if more else ""
        self._say(f"a connection from {address or 'a socket'} has come to nothing: {why}{others}")
