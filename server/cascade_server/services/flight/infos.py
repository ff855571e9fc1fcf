"""Flight descriptions of jobs: their rows, and the tickets for them. Pure functions."""

from __future__ import annotations

import json
import time

from cascade_jobs.job import Job
from cascade_jobs.parquet import provenance
from cascade_jobs.states import JobState
from cascade_proto import flight_pb2 as pb

from cascade_server.services.flight.names import descriptor_of, later_of, ticket_of

# A job may have ten thousand files. Between batches, the event loop can answer real-time calls.
FILES_A_TURN = 256


def info_of(
    job: Job, schema: bytes, forgotten_after: float, files: int | None = None
) -> pb.FlightInfo:
    """Describe a job's rows.

    A running job has tickets for all of its files: a client that reads them waits for each file,
    and so any client receives the complete result in the end.

    Args:
        job: a job that has neither failed nor been cancelled.
        schema: an encapsulated IPC message; empty: not known yet.
        forgotten_after: seconds that results are kept after the job's end.
        files: include only this many leading files; None: all.
    """
    plan = job.plan
    files = len(plan) if files is None else files
    info = pb.FlightInfo(
        schema=schema,
        flight_descriptor=descriptor_of(job),
        total_records=min(files * job.shard_rows, plan.rows),
        total_bytes=-1,
        ordered=True,
        app_metadata=json.dumps(
            {"job": job.id, **provenance(job.specification)}, sort_keys=True
        ).encode(),
    )
    for shard in map(plan.__getitem__, range(files)):
        if shard.number % FILES_A_TURN == 0:
            time.sleep(0)
        endpoint = info.endpoint.add(
            ticket=ticket_of(job, shard.number),
            app_metadata=b'{"first_row": %d, "rows": %d}' % (shard.first, shard.rows),
        )
        if job.state is JobState.DONE:
            endpoint.expiration_time.FromSeconds(int(job.finished + forgotten_after))
    return info


def poll_info_of(job: Job, schema: bytes, forgotten_after: float, files: int) -> pb.PollInfo:
    """Describe a job's progress: `files` leading files are complete, without a gap."""
    info = info_of(job, schema, forgotten_after, files)
    progress = min(1.0, job.rows_drawn / job.specification.rows)
    if files == len(job.plan):
        return pb.PollInfo(info=info, progress=1.0)
    return pb.PollInfo(info=info, flight_descriptor=later_of(job, files), progress=progress)
