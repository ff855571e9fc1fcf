"""Who is told how many rows have come of a frame, or of a stream of them: a function, or a bar."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

from cascade_client.errors import InvalidRequest

Progress = Callable[[int, int], object]

WIDTH = 30


class Bar:
    """Shows how many rows have come, on one line of a terminal; elsewhere it shows nothing.

    >>> client.generate("credit", 100_000, progress=True)

    It is what ``progress=True`` of `Client.synthesize` and `Client.generate` stands for; a function
    of your own is called as it is: ``progress(done, total)``.

    Args:
        what: is being made.
        out: where to show it; None: standard error.
    """

    def __init__(self, what: str, out: TextIO | None = None) -> None:
        self._what, self._out = what, sys.stderr if out is None else out

    def __call__(self, done: int, total: int) -> None:
        if not self._out.isatty():
            return
        full = WIDTH * done // total
        bar = "█" * full + "░" * (WIDTH - full)
        end = "\n" if done == total else ""
        self._out.write(f"\r{self._what} {bar} {done:,} of {total:,} rows{end}")
        self._out.flush()


def checked_progress(progress: Progress | bool | None, what: str) -> Progress | None:
    """What to tell of progress: a function, the bar of a terminal, or nobody.

    Args:
        progress: as the caller says: True: a bar.
        what: is being made, for the bar.

    Raises:
        InvalidRequest: it is none of these.
    """
    if progress is True:
        return Bar(what)
    if progress is None or progress is False:
        return None
    if not callable(progress):
        raise InvalidRequest(
            f"progress is {progress!r}; a function of two numbers, True, for a bar, or None is "
            "allowed"
        )
    return progress
