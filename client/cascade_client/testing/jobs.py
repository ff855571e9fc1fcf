"""Offline jobs of a `FakeServer`: completed at once, reported step by step, kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from cascade_jobs.job import Part
from cascade_proto import jobs_pb2 as pb
from cascade_proto import synthesis_pb2

from cascade_client.sessions.messages import StreamedError
from cascade_client.testing.results import files_of, specification_of
from cascade_client.testing.tables import Asked, FakeTable, Row, read_rows
from cascade_client.values.descriptions import ColumnDescription, TableDescription

JOBS = pb.DESCRIPTOR.services_by_name["Jobs"].full_name
# Bytes per message of a file: few, so that a file takes several.
BLOCK = 1024
# Most distinct values of a column that can be balanced without naming its values.
MOST_VALUES = 20


@dataclass
class FakeJob:
    """A job: its reported state, and its files, of which the last is the manifest.

    Each report advances it by one file.
    """

    message: pb.Job
    files: Mapping[str, bytes]
    listed: Sequence[pb.ResultFile]
    fails: str = ""
    asked: bytes = b""
    token: str = ""

    def now(self) -> pb.Job:
        """Return its current state for a report."""
        out = pb.Job()
        out.CopyFrom(self.message)
        return out

    def goes_on(self) -> pb.Job:
        """Advance the job and return its new state."""
        job = self.message
        if job.state == pb.JOB_STATE_PENDING:
            job.state = pb.JOB_STATE_RUNNING
        elif job.state == pb.JOB_STATE_RUNNING:
            if self.fails:
                job.state, job.reason = pb.JOB_STATE_FAILED, self.fails
            else:
                file = self.listed[job.files_done]
                job.files_done += 1
                job.rows_done += file.rows
                job.bytes += file.bytes
                if job.files_done == job.files:
                    job.state = pb.JOB_STATE_DONE
        return self.now()

    @property
    def has_ended(self) -> bool:
        """Whether the job has ended."""
        return _is_final(self.message)


@dataclass
class FakeJobs:
    """The jobs of a server.

    Attributes:
        file_rows: rows per file.
        fails: failure reasons of the next jobs; "": the job does not fail.
    """

    file_rows: int
    jobs: dict[str, FakeJob] = field(default_factory=dict)
    fails: list[str] = field(default_factory=list)

    def submit(self, body: bytes, asked: Asked, seed: int, table: FakeTable) -> pb.Job:
        """Return the job of a request, either new or an existing one."""
        request = pb.SubmitJobRequest.FromString(body)
        same = pb.SubmitJobRequest.FromString(body)
        same.ClearField("token")
        same.ClearField("fresh")
        asked_for = same.SerializeToString(deterministic=True)
        for each in self.jobs.values():
            is_done = each.message.state == pb.JOB_STATE_DONE and request.HasField("seed")
            if (request.token and each.token == request.token) or (
                is_done and not request.fresh and each.asked == asked_for
            ):
                found = each.now()
                found.reused = True
                return found
        described = table.description(asked.table)
        rows = table.answer(asked, seed)
        specification = specification_of(request, asked, seed, len(rows), described)
        job = pb.Job(
            id=f"{len(self.jobs) + 1:012x}",
            state=pb.JOB_STATE_PENDING,
            table=asked.table,
            version=specification.version,
            tier=request.tier or synthesis_pb2.TIER_TEACHER,
            seed=seed,
            rows=len(rows),
            output=request.output or "results",
            format=specification.format,
            specification=specification.to_json(),
        )
        files, listed = {}, []
        for part, data in files_of(specification, rows, described, self.file_rows):
            files[part.name] = data
            listed.append(_listed(part))
            job.files += 1 if part.rows else 0
        fails = self.fails.pop(0) if self.fails else ""
        made = FakeJob(job, files, listed, fails, asked_for, request.token)
        self.jobs[job.id] = made
        return made.now()

    def get(self, body: bytes) -> pb.Job:
        """Answer `GetJob`: each call advances a job that has not ended."""
        request = pb.GetJobRequest.FromString(body)
        job = self._find(request.id)
        out = job.goes_on()
        if request.with_files:
            is_done = out.state == pb.JOB_STATE_DONE
            out.result_files.extend(job.listed if is_done else job.listed[: out.files_done])
        return out

    def list(self, body: bytes) -> pb.ListJobsResponse:
        """Return the newest jobs, newest first."""
        limit = pb.ListJobsRequest.FromString(body).limit or 100
        newest = list(self.jobs.values())[::-1][:limit]
        return pb.ListJobsResponse(jobs=[job.now() for job in newest])

    def cancel(self, body: bytes) -> pb.Job:
        """Answer `CancelJob`; refuse a job that has ended, as a server does."""
        job = self._find(pb.CancelJobRequest.FromString(body).id)
        if job.has_ended:
            state = pb.JobState.Name(job.message.state).removeprefix("JOB_STATE_")
            raise StreamedError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"job {job.message.id} is {state}; jobs that have not ended can be cancelled",
            )
        job.message.state, job.message.reason = pb.JOB_STATE_CANCELLED, "cancelled by a caller"
        return job.now()

    def watch(self, body: bytes) -> Iterator[tuple[pb.Job, int]]:
        """Yield a job's states until it has ended, each with its number of rows."""
        job = self._find(pb.WatchJobRequest.FromString(body).id)
        out = job.now()
        yield out, out.rows_done
        # Until its end was reported: another call may have advanced it meanwhile.
        while not _is_final(out):
            out = job.goes_on()
            yield out, out.rows_done

    def read(self, body: bytes) -> Iterator[tuple[pb.ReadResultResponse, int]]:
        """Yield a file from a byte offset, with the number of bytes sent after each message."""
        request = pb.ReadResultRequest.FromString(body)
        job = self._find(request.id)
        data = job.files.get(request.name)
        if data is None or job.message.state != pb.JOB_STATE_DONE:
            raise StreamedError(
                grpc.StatusCode.NOT_FOUND, f"job {request.id} has no file {request.name!r}"
            )
        for begin in range(request.offset, len(data), BLOCK):
            part = data[begin : begin + BLOCK]
            sent = begin + len(part) - request.offset
            yield pb.ReadResultResponse(data=part, bytes=len(data)), sent

    def _find(self, id: str) -> FakeJob:
        if id not in self.jobs:
            raise StreamedError(grpc.StatusCode.NOT_FOUND, f"there is no job {id!r}")
        return self.jobs[id]


def asked_of(body: bytes, describe: Callable[[str, int], TableDescription]) -> Asked:
    """Parse a job's request, with each of its rows separate.

    Raises:
        StreamedError: INVALID_ARGUMENT.
    """
    request = pb.SubmitJobRequest.FromString(body)
    described = describe(request.table, request.version)
    rows: Sequence[Row] = ({},)
    draws = request.rows
    if request.HasField("conditions"):
        rows, draws = read_rows(request.conditions, described), request.draws or 1
    elif not request.rows:
        raise StreamedError(
            grpc.StatusCode.INVALID_ARGUMENT, "rows is 0; 1 or more, or conditions, are allowed"
        )
    elif request.HasField("balance"):
        column = described.column(request.balance.column)
        rows, draws = _balanced(request, column, described), 1
    if request.HasField("given"):
        (given,) = read_rows(request.given, described)
        rows = [{**given, **row} for row in rows]
    return Asked(
        method="submit",
        table=request.table,
        rows=tuple(rows),
        draws=draws,
        columns=tuple(request.columns) or None,
        seed=request.seed if request.HasField("seed") else None,
        fidelity="fast" if request.tier == synthesis_pb2.TIER_STUDENT else "full",
        version=request.version or None,
        offline=True,
    )


def _balanced(
    request: pb.SubmitJobRequest, column: ColumnDescription | None, described: TableDescription
) -> list[Row]:
    """Return one row per value of the balanced column, in turn."""
    balance = request.balance
    if balance.HasField("values"):
        values: list[Any] = [row[balance.column] for row in read_rows(balance.values, described)]
    elif column is not None and column.kind == "boolean":
        values = [False, True]
    elif column is not None and column.kind == "integer":
        values = list(range(round(column.minimum or 0), round(column.maximum or 0) + 1))
    else:
        values = list(column.categories) if column is not None else []
    if not values or (len(values) > MOST_VALUES and not balance.HasField("values")):
        raise StreamedError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"balance names {balance.column!r}, which has no values to balance",
        )
    weights = list(balance.weights) or [1.0] * len(values)
    share, before, ends = sum(weights), 0.0, []
    for weight in weights:
        before += weight
        ends.append(round(request.rows * before / share))
    counts = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    return [
        {balance.column: value}
        for value, count in zip(values, counts, strict=True)
        for _ in range(count)
    ]


def _is_final(job: pb.Job) -> bool:
    return job.state not in (pb.JOB_STATE_PENDING, pb.JOB_STATE_RUNNING)


def _listed(part: Part) -> pb.ResultFile:
    return pb.ResultFile(
        name=part.name,
        first_row=part.first_row,
        rows=part.rows,
        bytes=part.bytes,
        sha256=part.sha256,
    )
