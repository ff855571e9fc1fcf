"""Canaries on trial: when each began, and its state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_server.counts.shared.books import Books
from cascade_server.counts.shared.trial import outcomes
from cascade_server.objectives import canary
from cascade_server.objectives.canary import CanaryConfig, Judged, Verdict


@dataclass(frozen=True, eq=False)
class TrialBegun:
    """A canary's trial.

    Attributes:
        version: the canary's version.
        since: when the trial began.
        before: the counts at that time, as `Books.trial`.
        books: the books that count it.
    """

    version: int
    since: float
    before: NDArray[np.int64]
    books: Books


class Trials:
    """All trials, at most one per table.

    Args:
        config: when to promote a canary.
        clock: monotonic seconds.
    """

    def __init__(self, config: CanaryConfig, clock: Callable[[], float]) -> None:
        self._config, self._clock = config, clock
        self._begun: dict[str, TrialBegun] = {}
        self.reasons: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._begun)

    def holds(self, table: str, version: int, books: Books) -> bool:
        """Set which version is on trial, 0 for none; return True if its trial begins now."""
        begun = self._begun.get(table)
        if not version:
            self._begun.pop(table, None)
            self.reasons.pop(table, None)
            return False
        if begun is not None and begun.version == version and begun.books is books:
            return False
        self._begun[table] = TrialBegun(version, self._clock(), books.trial(), books)
        return True

    def judged(self) -> Iterator[tuple[str, int, Judged]]:
        """Yield trials that are over, by table and version."""
        for table, begun in list(self._begun.items()):
            counts = begun.books.trial() - begun.before
            found = outcomes(begun.books.objectives, table, counts)
            judged = canary.judge(found, self._clock() - begun.since, self._config)
            self.reasons[table] = judged.reason
            if judged.verdict is not Verdict.WAIT:
                yield table, begun.version, judged
