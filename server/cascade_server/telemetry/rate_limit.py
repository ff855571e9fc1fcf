"""How often the log says the same thing: some times in a while, and then how often it did not."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

MOST, SECONDS, KINDS = 20, 10.0, 1000
# What is counted together once there are too many kinds to tell apart.
OTHERS = "others"


@dataclass
class Window:
    """Of a kind of line: since when, how many were written, and how many were not."""

    began: float
    written: int = 0
    suppressed: int = 0


class RateLimit:
    """Of each kind, lets so many through in so many seconds, and counts the others.

    Args:
        most: lines of a kind.
        seconds: in which they are counted.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        most: int = MOST,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._windows: dict[Hashable, Window] = {}

    def lets(self, kind: Hashable) -> int | None:
        """Whether a line may be written now.

        Returns:
            How many of its kind were not since the last that was; None: it may not.
        """
        now = self._clock()
        window = self._windows.get(kind)
        if window is None:
            if len(self._windows) >= KINDS:
                kind = OTHERS
            window = self._windows.setdefault(kind, Window(now))
        if now - window.began >= self._seconds:
            window.began, window.written = now, 0
        if window.written >= self._most:
            window.suppressed += 1
            return None
        window.written += 1
        before, window.suppressed = window.suppressed, 0
        return before

    def overdue(self) -> Iterator[tuple[Hashable, int]]:
        """Kinds whose while is over, and how many lines of each were not written; once each. Kinds
        of which nothing came for as long again are forgotten."""
        now = self._clock()
        for kind, window in list(self._windows.items()):
            if now - window.began < self._seconds:
                continue
            suppressed, window.suppressed = window.suppressed, 0
            if suppressed:
                yield kind, suppressed
            elif now - window.began >= 2 * self._seconds:
                del self._windows[kind]
