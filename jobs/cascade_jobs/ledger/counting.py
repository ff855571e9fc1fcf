"""What whoever runs a server is told of its jobs: how many there are, and what has happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cascade_jobs.states import JobState


class Count(StrEnum):
    """What the ledger counts from its first job on, whoever makes rows and whatever is forgotten.

    Each is counted in the transaction in which it happens: a process that is killed has counted
    what it has done, and nothing twice.
    """

    SHARDS = "shards"  # files of rows that are whole; by table and tier
    ROWS = "rows"  # of these files; by table and tier
    RETRIES = "retries"  # times that a file could not be made now; by cause
    FAILURES = "failures"  # jobs that have failed; by cause
    LEASES_LOST = "leases_lost"  # files whose maker was gone, or silent for too long


@dataclass(frozen=True)
class JobStatistics:
    """Of one ledger, at one time.

    Attributes:
        states: jobs that are kept, by state; of each there is a number.
        waiting: of those that have not ended, how many say that they cannot go on now.
        oldest_pending: seconds since the oldest job was asked for which nobody has begun with,
            though no decision keeps it back; 0: there is none.
        oldest_waiting: seconds for which a job has not gone on, the longest; 0: all do.
        bytes: of results in the server's own folder.
        counts: what has happened, by what it is, the table ("" where it is no table's), and the
            tier or the cause.
    """

    states: Mapping[JobState, int]
    waiting: int
    oldest_pending: float
    oldest_waiting: float
    bytes: int
    counts: Mapping[tuple[Count, str, str], int]
