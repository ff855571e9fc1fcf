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
    """State of a job; the last three named states are final."""

    PENDING = "PENDING"  # nobody has begun
    RUNNING = "RUNNING"  # its rows are being made
    DONE = "DONE"  # all of its files are whole
    FAILED = "FAILED"  # no further try could help
    CANCELLED = "CANCELLED"  # somebody wanted it no more
    UNKNOWN = "UNKNOWN"  # a state that this version of the client has no name for

    @property
    def is_final(self) -> bool:
        """Whether such a job cannot change any more."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class ResultFile:
    """A complete file of a job's results.

    Attributes:
        name: in the job's output.
        first_row, rows: of the job; a file with no rows describes the others.
        bytes, sha256: of the file.
    """

    name: str
    first_row: int
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class JobExecutor:
    """Decision of the server's policy about an executor and a job.

    Attributes:
        name, kind: as in the policy.
        may_run: whether it may run the job.
        reasons: why it may, or everything that speaks against it.
    """

    name: str
    kind: str
    may_run: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        id: the server's name for it.
        state: its current state.
        reason: why it failed or was cancelled; "": neither.
        waiting: what it waits for, if it cannot continue now; "": nothing.
        table, version, release: source of its rows; `release` is a digest of the files.
        tier: the tier that draws.
        seed: of its random numbers: the same seed gives the same files.
        rows, rows_done: total rows, and rows made so far.
        files, files_done: likewise.
        bytes: of the complete files.
        output, format: location and format of the files.
        created, started, finished: UTC; None: not yet.
        reused: whether it existed before this request.
        specification: everything that was requested, and decided about it.
        result_files: the complete files, if they were requested.
        executors: which executors may run it; from `Jobs.get` on a server with a policy.
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
    """Convert the server's message about a job."""
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
