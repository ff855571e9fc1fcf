"""Where a job is in its life: a table of states and what happens to a job.

A job is PENDING until somebody has begun with it, RUNNING until all of its results are there, then
DONE. It FAILED where no further try could help, and is CANCELLED where nobody wants it any more.
The last three are final.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class JobState(StrEnum):
    """How far a job has come, in the words that callers see."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to such a job."""
        return self in FINAL


class JobEvent(StrEnum):
    """What happens to a job."""

    CLAIMED = "CLAIMED"  # somebody has begun with one of its shards
    COMPLETED = "COMPLETED"  # its manifest is there, which is written last
    FAILED = "FAILED"  # it cannot succeed
    CANCELLED = "CANCELLED"  # somebody wants it no more


FINAL = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})

# What is not here changes nothing: an executor may learn late that its job has ended.
TABLE: Mapping[tuple[JobState, JobEvent], JobState] = {
    (JobState.PENDING, JobEvent.CLAIMED): JobState.RUNNING,
    (JobState.PENDING, JobEvent.FAILED): JobState.FAILED,
    (JobState.PENDING, JobEvent.CANCELLED): JobState.CANCELLED,
    (JobState.RUNNING, JobEvent.COMPLETED): JobState.DONE,
    (JobState.RUNNING, JobEvent.FAILED): JobState.FAILED,
    (JobState.RUNNING, JobEvent.CANCELLED): JobState.CANCELLED,
}


def follows(state: JobState, event: JobEvent) -> JobState:
    """The state after something has happened; the same one where that changes nothing."""
    return TABLE.get((state, event), state)
