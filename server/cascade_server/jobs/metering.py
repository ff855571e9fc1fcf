"""Usage by jobs: all processor time of an executor, and the teacher's time for it."""

from __future__ import annotations

import time
from collections.abc import Callable

from cascade_server.counts.shared.compute import ComputeCounts, UsageKey, UsageTier, Used
from cascade_server.engines.spent import Spent


class JobMetering:
    """Counts the usage by jobs of one executor, which does nothing else.

    Work between the rows of two jobs, such as writing and committing, is charged to the earlier
    job. Work before the first job, such as starting and loading a release, is charged to that job.

    Args:
        counts: where the counts are stored.
        clock: processor seconds of the process, which began at 0.
    """

    def __init__(
        self, counts: ComputeCounts, clock: Callable[[], float] = time.process_time
    ) -> None:
        self._counts, self._clock = counts, clock
        # No job yet.
        self._until, self._key = 0.0, UsageKey("", UsageTier.JOB)

    def works_for(self, table: str, tenant: str = "") -> None:
        """Charge another job from now on, or continue with the same one."""
        key = UsageKey(table, UsageTier.JOB, tenant)
        if self._key.table:
            self.made(0, 0, Spent(), answers=0)
        self._key = key

    def made(self, rows: int, tokens: int, elsewhere: Spent, answers: int = 1) -> None:
        """Count rows that were made, and all work since the last count.

        Args:
            rows, tokens: amounts that were made; tokens as in `Used`.
            elsewhere: time that other processes have spent on them.
            answers: number of parts of the job that they are.
        """
        now = self._clock()
        seconds, self._until = now - self._until + elsewhere.seconds, now
        used = Used(seconds, elsewhere.gpu_seconds, answers, rows, tokens)
        self._counts.add(self._key, used)
