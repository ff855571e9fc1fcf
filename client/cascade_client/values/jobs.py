"""Offline jobs of a server, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from cascade_proto import jobs_pb2 as pb

from cascade_client.values.date_times import from_microseconds
from cascade_client.values.provenance import TIERS, Tier


class JobState(StrEnum):
    """Where a job is in its life; the last three are final."""

    PENDING = "PENDING"  # nobody has begun
    RUNNING = "RUNNING"  # its rows are being made
    DONE = "DONE"  # all of its files are whole
    FAILED = "FAILED"  # no further try could help
    CANCELLED = "CANCELLED"  # somebody wanted it no more
    UNKNOWN = "UNKNOWN"  # a state that this version of the client has no name for

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to such a job."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class ResultFile:
    """A file of a job's results that is whole.

    Attributes:
        name: in the job's output.
        first_row, rows: of the job; no rows: it says something of the others.
        bytes, sha256: of the file.
    """

    name: str
    first_row: int
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class JobExecutor:
    """What the server's policy says of an executor and a job.

    Attributes:
        name, kind: as the policy has it.
        may_run: whether it may run the job.
        reasons: why, or all that speaks against it.
    """

    name: str
    kind: str
    may_run: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        id: what the server calls it.
        state: where it is in its life.
        reason: why it failed or was cancelled; "": neither.
        waiting: what it waits for, where it cannot go on now; "": nothing.
        table, version, release: of what it makes rows; `release` is a digest of the files.
        tier: who draws.
        seed: of its random numbers: the same one gives the same files.
        rows, rows_done: that it is to make, and has made.
        files, files_done: likewise.
        bytes: of the files that are whole.
        output, format: where they are, and what they are.
        created, started, finished: UTC; None: not yet.
        reused: whether it was there before it was asked for.
        specification: all that was asked for, and decided about it.
        result_files: those that are whole, where they were asked for.
        executors: who may run it and who may not, of `Jobs.get` on a server with a policy.
    """

    id: str
    state: JobState
    reason: str
    waiting: str
    table: str
    version: int
    release: str
    tier: Tier
    seed: int
    rows: int
    rows_done: int
    files: int
    files_done: int
    bytes: int
    output: str
    format: str
    created: datetime | None
    started: datetime | None
    finished: datetime | None
    reused: bool
    specification: Mapping[str, Any]
    result_files: tuple[ResultFile, ...] = ()
    executors: tuple[JobExecutor, ...] = ()


def job_of(message: pb.Job) -> Job:
    """What the server says of a job."""
    return Job(
        id=message.id,
        state=_state(message.state),
        reason=message.reason,
        waiting=message.waiting,
        table=message.table,
        version=message.version,
        release=message.release,
        tier=TIERS.get(message.tier, Tier.UNKNOWN),
        seed=message.seed,
        rows=message.rows,
        rows_done=message.rows_done,
        files=message.files,
        files_done=message.files_done,
        bytes=message.bytes,
        output=message.output,
        format=message.format,
        created=_time(message.created),
        started=_time(message.started),
        finished=_time(message.finished),
        reused=message.reused,
        specification=json.loads(message.specification or "{}"),
        result_files=tuple(
            ResultFile(each.name, each.first_row, each.rows, each.bytes, each.sha256)
            for each in message.result_files
        ),
        executors=tuple(
            JobExecutor(each.name, each.kind, each.may_run, tuple(each.reasons))
            for each in message.executors
        ),
    )


def _time(microseconds: int) -> datetime | None:
    return from_microseconds(microseconds) if microseconds else None


def _state(number: int) -> JobState:
    names: dict[int, str] = {value: name for name, value in pb.JobState.items()}
    name = names.get(number, "").removeprefix("JOB_STATE_")
    return JobState(name) if name in list(JobState) else JobState.UNKNOWN
