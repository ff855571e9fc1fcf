"""Limits how often the log repeats a message, and counts the repetitions it leaves out."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

MOST, SECONDS, KINDS = 20, 10.0, 1000
# The common kind of all lines once there are too many kinds.
OTHERS = "others"


@dataclass
class Window:
    """A period of a kind of line: its start, and the lines written and suppressed."""

    began: float
    written: int = 0
    suppressed: int = 0


class RateLimit:
    """Lets a number of lines of each kind through per period, and counts the others.

    Args:
        most: lines of a kind per period.
        seconds: length of a period.
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
        """Return whether a line may be written now.

        Returns:
            How many of its kind were suppressed since the last one written; None if it may not be
            written.
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
        """Yield the kinds whose period is over, and how many of their lines were suppressed.

        Each is yielded once. Kinds without lines for another period are forgotten.
        """
        now = self._clock()
        for kind, window in list(self._windows.items()):
            if now - window.began < self._seconds:
                continue
            suppressed, window.suppressed = window.suppressed, 0
            if suppressed:
                yield kind, suppressed
            elif now - window.began >= 2 * self._seconds:
                del self._windows[kind]
