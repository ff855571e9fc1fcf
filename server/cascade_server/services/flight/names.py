"""Parses the names that Flight clients send: descriptors, tickets and criteria.

The descriptor of a job is a path of one component, or a command; either is the job's id. A ticket
is `JOB/NUMBER`, for the rows of one file, or `JOB`, for all rows. Input is only ever used as ids to
look up, never as a file name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cascade_jobs.job import Job
from cascade_proto import flight_pb2 as pb
from cascade_tables.errors import shown

from cascade_server.errors import BadRequest

# Allows the longest id that any client may choose.
_JOB = r"[\w-]{1,64}"
_TICKET = re.compile(rf"({_JOB})(?:/(\d{{1,9}}))?", re.ASCII)
_COMMAND = re.compile(rf"({_JOB})(?:\?files=(\d{{1,9}}))?", re.ASCII)
# Characters of the input that error messages repeat.
_SHOWN = 80


@dataclass(frozen=True)
class Asked:
    """The rows that a ticket is for.

    Attributes:
        job: the job's id.
        shard: the number of one of the job's files; None: all of its rows.
    """

    job: str
    shard: int | None = None


def asked_of(ticket: pb.Ticket) -> Asked:
    """Parse a ticket.

    Raises:
        BadRequest: this server did not issue such a ticket.
    """
    found = _TICKET.fullmatch(_text(ticket.ticket))
    if found is None:
        raise BadRequest(
            f"ticket is {shown(_text(ticket.ticket)[:_SHOWN])}; allowed: a job's id, for all of "
            "its rows, or one of the tickets that GetFlightInfo gives"
        )
    job, shard = found.groups()
    return Asked(job, None if shard is None else int(shard))


def ticket_of(job: Job, shard: int) -> pb.Ticket:
    """Return the ticket for a file of a job."""
    return pb.Ticket(ticket=f"{job.id}/{shard}".encode())


def job_of(descriptor: pb.FlightDescriptor) -> tuple[str, int | None]:
    """Return the id of the described job, and the number of files that a polling client knows.

    Raises:
        BadRequest: the descriptor names no job.
    """
    kinds = pb.FlightDescriptor.DescriptorType
    if descriptor.type == kinds.PATH:
        sent = descriptor.path[0] if len(descriptor.path) == 1 else ""
        if re.fullmatch(_JOB, sent, re.ASCII):
            return sent, None
        said = f"path {shown('/'.join(descriptor.path)[:_SHOWN])}"
    elif descriptor.type == kinds.CMD:
        found = _COMMAND.fullmatch(_text(descriptor.cmd))
        if found is not None:
            job, files = found.groups()
            return job, None if files is None else int(files)
        said = f"command {shown(_text(descriptor.cmd)[:_SHOWN])}"
    else:
        said = f"of type {descriptor.type}"
    raise BadRequest(
        f"the descriptor is {said}; allowed: a path of one component or a command, which is a "
        "job's id, as ListFlights and `cascade jobs list` name them"
    )


def descriptor_of(job: Job) -> pb.FlightDescriptor:
    """Return the descriptor of a job."""
    return pb.FlightDescriptor(type=pb.FlightDescriptor.PATH, path=[job.id])


def later_of(job: Job, files: int) -> pb.FlightDescriptor:
    """Return the descriptor for the next poll of a client that knows `files` files."""
    return pb.FlightDescriptor(type=pb.FlightDescriptor.CMD, cmd=f"{job.id}?files={files}".encode())


def table_of(criteria: pb.Criteria) -> str:
    """Return the table whose jobs to list; "": any.

    Raises:
        BadRequest: the criteria are not text.
    """
    text = _text(criteria.expression)
    if "�" in text or len(text) > 1024:
        raise BadRequest("criteria: allowed: nothing, for all jobs, or the name of a table")
    return text


def _text(sent: bytes) -> str:
    return sent.decode("utf-8", "replace")
