"""What jobs take: all of an executor's processor time, and what the teacher has computed for it."""

from __future__ import annotations

import time
from collections.abc import Callable

from cascade_server.counts.shared.compute import ComputeCounts, UsageKey, UsageTier, Used
from cascade_server.engines.spent import Spent


class JobMetering:
    """Counts what the jobs of one executor take, which does nothing else.

    What it does between the rows of two jobs, to write and to commit, is the earlier one's; what it
    did before its first, to begin and to load a release, is that one's.

    Args:
        counts: where it is written down.
        clock: processor seconds of the process, which began at 0.
    """

    def __init__(
        self, counts: ComputeCounts, clock: Callable[[], float] = time.process_time
    ) -> None:
        self._counts, self._clock = counts, clock
        # No job yet.
        self._until, self._key = 0.0, UsageKey("", UsageTier.JOB)

    def works_for(self, table: str, tenant: str = "") -> None:
        """From now on it works for another job, or goes on with this one."""
        key = UsageKey(table, UsageTier.JOB, tenant)
        if self._key.table:
            self.made(0, 0, Spent(), answers=0)
        self._key = key

    def made(self, rows: int, tokens: int, elsewhere: Spent, answers: int = 1) -> None:
        """Count rows that were made, and all that was done since the last were.

        Args:
            rows, tokens: made; tokens as in `Used`.
            elsewhere: what other processes have spent on them.
            answers: parts of the job that they are.
        """
        now = self._clock()
        seconds, self._until = now - self._until + elsewhere.seconds, now
        used = Used(seconds, elsewhere.gpu_seconds, answers, rows, tokens)
        self._counts.add(self._key, used)
