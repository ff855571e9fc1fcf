"""A job as Flight describes it: which rows there are, and the tickets for them. Pure functions."""

from __future__ import annotations

import json
import time

from cascade_jobs.job import Job
from cascade_jobs.parquet import provenance
from cascade_jobs.states import JobState
from cascade_proto import flight_pb2 as pb

from cascade_server.services.flight.names import descriptor_of, later_of, ticket_of

# A job may have ten thousand: who answers real-time calls has a turn at the interpreter in between.
FILES_A_TURN = 256


def info_of(
    job: Job, schema: bytes, forgotten_after: float, files: int | None = None
) -> pb.FlightInfo:
    """A job's rows.

    A job that is still being made has tickets for all of its files: whoever reads them is made to
    wait, and has the whole of it in the end, whichever client it is.

    Args:
        job: not one that came to nothing.
        schema: an encapsulated IPC message; empty: it is not known yet.
        forgotten_after: seconds after its end for which its results are kept.
        files: only so many of the first; None: all.
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
    """How far a job has come: so many of its files are whole, up to the first that is not."""
    info = info_of(job, schema, forgotten_after, files)
    progress = min(1.0, job.rows_drawn / job.specification.rows)
    if files == len(job.plan):
        return pb.PollInfo(info=info, progress=1.0)
    return pb.PollInfo(info=info, flight_descriptor=later_of(job, files), progress=progress)
