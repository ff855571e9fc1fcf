"""What is logged of connections that never were any: each kind seldom, however many there are."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger("cascade.server")

SECONDS = 30.0
# Kinds that are told apart; those beyond are one.
MOST_KINDS = 32


class Remarks:
    """Says why connections were refused: of each reason once in a while, with how many there were.

    Args:
        seconds: between two lines of a kind.
        clock: monotonic seconds.
        say: takes a line.
    """

    def __init__(
        self,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], object] = log.warning,
    ) -> None:
        self._seconds, self._clock, self._say = seconds, clock, say
        # By reason: when it was said last, and how many there were since.
        self._said: dict[str, tuple[float, int]] = {}

    def refused(self, address: str, why: str) -> None:
        """A connection has been refused, or has been given up by its peer before any call."""
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
