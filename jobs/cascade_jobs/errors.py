"""What can go wrong with jobs; messages name the culprit and what is allowed.

JobsError
├── SpecificationRefused    a job is asked for that cannot be; names the field
│   └── OutputNotPermitted  results may not go there for who asks from there
├── PolicyRefused           a policy cannot be read; names file, line and what is allowed
├── PolicyForbids           no executor may run a job, by the server's policy
├── AuditRefused            an audit log was changed, or there is none
├── TokenTaken              a client's token stands for a job of another specification
├── TooManyJobs             as many jobs, or as much disk, as there may be
├── UnknownJob              there is no job of that id
├── AlreadyEnded            a job that has ended is to be cancelled
├── LedgerRefused           the ledger is damaged, or of a newer version
├── LeaseLost               a shard is somebody else's now, or nobody's
├── JobFailed               a job cannot succeed, however often it is tried
└── JobWaits                a job cannot go on now, and may later
"""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    """Reason why a job cannot continue, as a label for counters."""

    DISK_FULL = "disk_full"  # of the server, or of where results go
    QUOTA = "quota"  # job_disk_mib
    OUTPUT = "output"  # where results go cannot be written, or is away
    AWAY = "away"  # who draws the rows: the teacher's process, or a cluster
    RELEASE = "release"  # is gone, or another one
    CONDITIONS = "conditions"  # do not fit the release
    PACKAGE = "package"  # is not installed
    MEMORY = "memory"  # there is too little
    LEDGER = "ledger"  # cannot be written
    KILLED = "killed"  # whoever makes a file ends again and again
    OTHER = "other"  # nobody has foreseen it; the log says what


class JobsError(Exception):
    """Base of this package's errors."""


class SpecificationRefused(JobsError):
    """The requested job is impossible; names the field and what is allowed."""


class OutputNotPermitted(SpecificationRefused):
    """The caller may not write results there; says where results may go."""


class PolicyRefused(JobsError):
    """A policy cannot be read, or contains something that is not allowed; names the file, the line
    and what is allowed.
    """


class PolicyForbids(JobsError):
    """No executor may run a job, by the server's policy; says why, for each."""


class AuditRefused(JobsError):
    """An audit log was changed, or there is none; says which, and what to do."""


class TokenTaken(JobsError):
    """A client's token stands for a job of another specification."""


class TooManyJobs(JobsError):
    """As many jobs wait, or results take as much of the disk, as the settings allow."""


class UnknownJob(JobsError):
    """There is no job of that id, or it has been forgotten."""

    @classmethod
    def of(cls, job: str) -> UnknownJob:
        return cls(
            f"there is no job {job[:80]!r}; ListJobs names those that there are (a job that ended "
            "is forgotten after job_days)"
        )


class AlreadyEnded(JobsError):
    """A job to cancel is already done or has failed."""


class LedgerRefused(JobsError):
    """The ledger cannot be used; says why, and what to do."""


class LeaseLost(JobsError):
    """Another executor has the shard now, or its job has ended: the result is discarded."""


class _NotMadeError(JobsError):
    """A job's rows cannot be made, or not be written.

    Args:
        message: names the culprit.
        cause: label for counters.
    """

    def __init__(self, message: str, cause: Cause = Cause.OTHER) -> None:
        super().__init__(message)
        self.cause = cause


class JobFailed(_NotMadeError):
    """A job cannot succeed, however often it is tried; names the culprit."""


class JobWaits(_NotMadeError):
    """A job cannot go on now, and may later; says what it waits for."""
