"""States of a job: a table of states and events.

A job is PENDING until an executor starts it, RUNNING until all of its results exist, then DONE. It
is FAILED if no retry could help, and CANCELLED if a caller cancels it. The last three are final.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class JobState(StrEnum):
    """State of a job, as callers see it."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether such a job cannot change any more."""
        return self in FINAL


class JobEvent(StrEnum):
    """What happens to a job."""

    CLAIMED = "CLAIMED"  # somebody has begun with one of its shards
    COMPLETED = "COMPLETED"  # its manifest is there, which is written last
    FAILED = "FAILED"  # it cannot succeed
    CANCELLED = "CANCELLED"  # somebody wants it no more


FINAL = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})

# A missing pair changes nothing: an executor may learn late that its job has ended.
TABLE: Mapping[tuple[JobState, JobEvent], JobState] = {
    (JobState.PENDING, JobEvent.CLAIMED): JobState.RUNNING,
    (JobState.PENDING, JobEvent.FAILED): JobState.FAILED,
    (JobState.PENDING, JobEvent.CANCELLED): JobState.CANCELLED,
    (JobState.RUNNING, JobEvent.COMPLETED): JobState.DONE,
    (JobState.RUNNING, JobEvent.FAILED): JobState.FAILED,
    (JobState.RUNNING, JobEvent.CANCELLED): JobState.CANCELLED,
}


def follows(state: JobState, event: JobEvent) -> JobState:
    """Return the state after an event; unchanged if the event does not apply."""
    return TABLE.get((state, event), state)
