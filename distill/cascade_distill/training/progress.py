"""Progress bars with rate, loss and remaining time; plain lines without a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cascade_distill.training.early_stopping import HeldOutLosses

# Seconds between lines if the output is a file or a pipe.
LINE_SECONDS = 15.0


class Bar:
    """A progress bar for a training run (`update`, then `settling`) or a sampling run (`rows`)."""

    def __init__(self, title: str, unit: str, console: Console) -> None:
        self.title, self.unit, self.console = title, unit, console
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=None, detail="")
        self._first: tuple[float, int] | None = None
        self._held_out, self._settles = "", False
        self._line_at = float("-inf")

    def update(self, step: int, steps: int, loss: float) -> None:
        """Report that a training run has done `step` of `steps`; `loss` is in nats per row."""
        self._show(step, steps, f"loss {loss:.3f}{self._held_out}")

    def held_out(self, losses: HeldOutLosses) -> None:
        """Report that a training run has evaluated its held-out rows."""
        if losses.best is not None:
            last = losses.evaluations[-1]
            self._held_out = (
                f", held out {last.loss:.3f} (best {losses.best.loss:.3f}, "
                f"step {losses.best.step:,})"
            )

    def rows(self, done: int, total: int) -> None:
        """Report that a sampling run has made `done` of `total` rows."""
        self._show(done, total, "")

    def settling(self, done: int, total: int) -> None:
        """Report that a trained network has drawn `done` of `total` rows to count how often
        relations hold.
        """
        if not self._settles:
            self._settles, self._first, self._line_at = True, None, float("-inf")
            self.title, self.unit = f"{self.title}: how often relations hold", "rows"
            self._bar.update(self._task, description=self.title)
        self._show(done, total, "")

    def _show(self, done: int, total: int, detail: str) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        began, done_then = self._first
        rate = (done - done_then) / (now - began) if now > began else 0.0
        detail = f"{rate:,.0f} {self.unit}/s  {detail}".rstrip()
        self._bar.update(self._task, completed=done, total=total, detail=detail)
        if not self.console.is_terminal and (now - self._line_at >= LINE_SECONDS or done >= total):
            self._line_at = now
            left = f", {(total - done) / rate:,.0f} s to go" if rate and done < total else ""
            self.console.print(
                f"{self.title}: {done:,} of {total:,}, {detail}{left}", soft_wrap=True
            )


@contextmanager
def bar(title: str, unit: str, console: Console) -> Iterator[Bar]:
    """Show a live bar for the duration of the block."""
    made = Bar(title, unit, console)
    with made._bar:
        yield made
