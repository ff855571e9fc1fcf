"""Progress of the rows of a frame, stream or job, reported to a function or shown as a bar."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any, TextIO

from cascade_client.errors import InvalidRequest

Progress = Callable[[int, int], object]

WIDTH = 30


class Bar:
    """A bar for the received rows, on one line of a terminal or below a notebook's cell; elsewhere
    it shows nothing.

    >>> client.generate("credit", 100_000, progress=True)

    ``progress=True`` of `Client.synthesize` and other methods uses it. A function of your own is
    called as ``progress(done, total)``.

    Args:
        what: name of the thing being made, shown before the bar.
        units: name of the counted units.
        out: the terminal; None: standard error.
        notebook: shows text below a notebook's cell and returns a handle to update it, as IPython's
            `display` does; None: `display` itself, if this is a notebook.
    """

    def __init__(
        self,
        what: str,
        units: str = "rows",
        out: TextIO | None = None,
        notebook: Callable[..., Any] | None = None,
    ) -> None:
        self._what, self._units = what, units
        self._out = sys.stderr if out is None else out
        self._display = _notebook() if notebook is None else notebook
        self._shown: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self._display is not None:
            said = {"text/plain": self._line(done, total)}
            if self._shown is None:
                self._shown = self._display(said, raw=True, display_id=True)
            else:
                self._shown.update(said, raw=True)
        elif self._out.isatty():
            end = "\n" if done == total else ""
            self._out.write(f"\r{self._line(done, total)}{end}")
            self._out.flush()

    def _line(self, done: int, total: int) -> str:
        full = WIDTH * done // max(total, 1)
        bar = "█" * full + "░" * (WIDTH - full)
        return f"{self._what} {bar} {done:,} of {total:,} {self._units}"


def _notebook() -> Callable[..., Any] | None:
    """Return IPython's `display` if this process is a notebook's kernel; else None."""
    shell = sys.modules.get("IPython")
    if shell is None or getattr(shell.get_ipython(), "kernel", None) is None:
        return None
    show: Callable[..., Any] = importlib.import_module("IPython.display").display
    return show


def checked_progress(
    progress: Progress | bool | None, what: str, units: str = "rows"
) -> Progress | None:
    """Return the progress function for a caller's `progress` argument; None: no reports.

    Args:
        progress: a function of two numbers; True for a bar; None or False for no reports.
        what, units: as for `Bar`.

    Raises:
        InvalidRequest: it is none of these.
    """
    if progress is True:
        return Bar(what, units)
    if progress is None or progress is False:
        return None
    if not callable(progress):
        raise InvalidRequest(
            f"progress is {progress!r}; a function of two numbers, True, for a bar, or None is "
            "allowed"
        )
    return progress
