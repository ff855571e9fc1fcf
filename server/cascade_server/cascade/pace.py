"""Whether calls pile up while the event loop works."""

from __future__ import annotations

import resource
from collections.abc import Callable

# Calls that come by chance while the loop is at work. A turn of the student for as many takes about
# half as long as they would one by one.
PILE = 4


def times_slept() -> int:
    """How often this thread has waited for something: for an event loop, until there is work."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


class Pace:
    """Tells calls that piled up during the last turn from those that just came at once.

    The loop keeps up by answering from the student together what has piled up. A call that waits
    for the teacher costs it as much as one that comes alone, however many there are: AUTO is not to
    spend that when there is a pile, but a caller with an idle server to himself may send as many
    together as he likes.

    Args:
        slept: counts how often the loop has had nothing to do.
    """

    def __init__(self, slept: Callable[[], int] = times_slept) -> None:
        self._slept = slept
        self._last = slept()

    def behind(self, calls: int) -> bool:
        """Whether the calls of this turn have piled up; to be asked once a turn."""
        last, self._last = self._last, self._slept()
        return calls > PILE and self._last == last
