"""Converts a job of the ledger to the wire's message."""

from __future__ import annotations

from collections.abc import Sequence

from cascade_jobs.job import Job, Part
from cascade_jobs.policy.decision import Decision
from cascade_proto import jobs_pb2 as pb
from cascade_proto import synthesis_pb2


def job_message(
    job: Job,
    reused: bool = False,
    parts: Sequence[Part] = (),
    decisions: Sequence[Decision] = (),
) -> pb.Job:
    """Return a job as a message, with its complete files and possible executors if given."""
    made = job.specification
    out = pb.Job(
        id=job.id,
        state=pb.JobState.Value(f"JOB_STATE_{job.state}"),
        reason=job.reason,
        waiting=job.waiting,
        table=made.table,
        version=made.version,
        release=made.release,
        tier=synthesis_pb2.TIER_TEACHER if made.by_teacher else synthesis_pb2.TIER_STUDENT,
        seed=made.seed,
        rows=made.rows,
        rows_done=job.rows_drawn,
        files=len(job.plan),
        files_done=job.shards_done,
        bytes=job.bytes,
        # The destination of the rows, if their present location is not known.
        output=made.output or job.output,
        format=made.format,
        created=_microseconds(job.created),
        started=_microseconds(job.started),
        finished=_microseconds(job.finished),
        reused=reused,
        specification=made.to_json(),
    )
    for part in parts:
        out.result_files.add(
            name=part.name,
            first_row=part.first_row,
            rows=part.rows,
            bytes=part.bytes,
            sha256=part.sha256,
        )
    for each in decisions:
        out.executors.add(
            name=each.executor, kind=each.kind, may_run=each.may_run, reasons=each.reasons
        )
    return out


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
