"""Statistics of jobs for the operator: current numbers, and counts of events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cascade_jobs.states import JobState


class Count(StrEnum):
    """Events that the ledger counts from its first job on, independent of executors and of
    forgotten jobs.

    Each is counted in the transaction in which it happens: a killed process has counted what it has
    done, and nothing twice.
    """

    SHARDS = "shards"  # files of rows that are whole; by table and tier
    ROWS = "rows"  # of these files; by table and tier
    RETRIES = "retries"  # times that a file could not be made now; by cause
    FAILURES = "failures"  # jobs that have failed; by cause
    LEASES_LOST = "leases_lost"  # files whose maker was gone, or silent for too long


@dataclass(frozen=True)
class JobStatistics:
    """Statistics of one ledger, at one time.

    Attributes:
        states: stored jobs by state; every state has a number.
        waiting: how many unfinished jobs cannot continue now.
        oldest_pending: age in seconds of the oldest job that was not started, except jobs that a
            policy decision holds back; 0: there is none.
        oldest_waiting: longest time in seconds for which a job has not continued; 0: all do.
        bytes: of results in the server's own folder.
        counts: number of events by kind, table ("" if it concerns none), and tier or cause.
    """

    states: Mapping[JobState, int]
    waiting: int
    oldest_pending: float
    oldest_waiting: float
    bytes: int
    counts: Mapping[tuple[Count, str, str], int]
