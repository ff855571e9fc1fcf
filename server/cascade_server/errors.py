"""The server's errors, and their conversion to gRPC statuses.

ServerError
├── ConfigError         a setting is not allowed
├── GpuError            a GPU or its driver is missing or fails
│   └── PlanError       a TensorRT plan is not for this GPU or version, or cannot be built
├── BadRequest          INVALID_ARGUMENT, like protobuf's DecodeError
├── UnknownTable        NOT_FOUND
├── DeadlinePassed      DEADLINE_EXCEEDED
├── TooMuch             RESOURCE_EXHAUSTED
│   └── OverAllowance   the tenant has used up its rate or quota
├── NotReady            UNAVAILABLE
├── TeacherFailed       INTERNAL
├── NotKnown            UNAUTHENTICATED
├── NotPermitted        PERMISSION_DENIED
└── NotAllowed          FAILED_PRECONDITION
    └── ReleaseRefused  a release is damaged or cannot be run
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import grpc
from cascade_jobs.errors import (
    AlreadyEnded,
    AuditRefused,
    LedgerRefused,
    OutputNotPermitted,
    PolicyForbids,
    PolicyRefused,
    SpecificationRefused,
    TokenTaken,
    TooManyJobs,
    UnknownJob,
)
from cascade_tables import CascadeTablesError, ReleaseError, UnknownColumn, ValueNotAllowed
from cascade_tables.errors import did_you_mean, listing, shown
from google.protobuf.message import DecodeError

log = logging.getLogger("cascade.server")

# Most characters of a message to a caller.
LONGEST_MESSAGE = 2000
# Most characters quoted from a library's error; its first line suffices.
LONGEST_LINE = 200


class ServerError(Exception):
    """Base of this package's errors; the message may go to the caller."""


class ConfigError(ServerError):
    """A setting is not allowed; names it, its value and what is allowed."""


class GpuError(ServerError):
    """A GPU or its driver is missing or fails; names it and how to get it."""


class PlanError(GpuError):
    """A TensorRT plan cannot be built, or was built for another environment; names that."""


class BadRequest(ServerError):
    """The request is not valid; names the field and what is allowed."""


class UnknownTable(ServerError):
    """There is no release of that name or version."""

    @classmethod
    def table(cls, name: str, known: Iterable[str]) -> UnknownTable:
        known = list(known)
        hint = did_you_mean(name, known)
        hint = f".{hint}" if hint else ""
        return cls(f"unknown table {shown(name)}; the tables are: {listing(known) or 'none'}{hint}")

    @classmethod
    def version(cls, name: str, version: int, known: Iterable[int]) -> UnknownTable:
        return cls(
            f"table {shown(name)} has no version {version}; its versions are: {listing(known)} "
            "(0: the latest)"
        )


class DeadlinePassed(ServerError):
    """The caller's deadline passed before the work was done."""


class TooMuch(ServerError):
    """The server is full.

    Attributes:
        pushback_ms: milliseconds to wait before a retry; sent as `grpc-retry-pushback-ms`.
    """

    def __init__(self, message: str, pushback_ms: int) -> None:
        super().__init__(message)
        self.pushback_ms = pushback_ms


class OverAllowance(TooMuch):
    """The tenant has used up its rate or quota; even an idle server would refuse it."""


class NotReady(ServerError):
    """Releases, or an issuer's keys, are still being loaded, or the server is draining.

    Attributes:
        pushback_ms: milliseconds to wait before a retry, as in `TooMuch`; None: not known.
    """

    def __init__(self, message: str, pushback_ms: int | None = None) -> None:
        super().__init__(message)
        self.pushback_ms = pushback_ms


class TeacherFailed(ServerError):
    """The teacher could be reached, and its computation failed; says how."""

    @classmethod
    def of(cls, why: Exception) -> TeacherFailed:
        return cls(f"the teacher failed: {in_a_line(why)}")


class NotKnown(ServerError):
    """The caller sent no valid credential; says how to send one."""


class NotPermitted(ServerError):
    """The caller is identified but may not do this; says who may, or from where."""


class NotAllowed(ServerError):
    """The server's settings or state do not allow this for anybody; says which would."""


class ReleaseRefused(NotAllowed, ReleaseError):
    """A release is damaged, or cannot be run.

    Attributes:
        table, version: the release.
    """

    def __init__(self, message: str, table: str, version: int) -> None:
        super().__init__(message)
        self.table, self.version = table, version

    @classmethod
    def of(cls, table: str, version: int, why: Exception) -> ReleaseRefused:
        """Create the error from its cause; names the type of a foreign exception, a defect."""
        known = isinstance(why, ServerError | CascadeTablesError)
        words = str(why) if known else f"{type(why).__name__}: {why}"
        return cls(f"{table} version {version}: {words}", table, version)


STATUS: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (BadRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (DecodeError, grpc.StatusCode.INVALID_ARGUMENT),
    (UnknownColumn, grpc.StatusCode.INVALID_ARGUMENT),
    (ValueNotAllowed, grpc.StatusCode.INVALID_ARGUMENT),
    (UnknownTable, grpc.StatusCode.NOT_FOUND),
    (DeadlinePassed, grpc.StatusCode.DEADLINE_EXCEEDED),
    (TooMuch, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (NotReady, grpc.StatusCode.UNAVAILABLE),
    (TeacherFailed, grpc.StatusCode.INTERNAL),
    (NotKnown, grpc.StatusCode.UNAUTHENTICATED),
    (NotPermitted, grpc.StatusCode.PERMISSION_DENIED),
    (NotAllowed, grpc.StatusCode.FAILED_PRECONDITION),
    (OutputNotPermitted, grpc.StatusCode.PERMISSION_DENIED),
    (SpecificationRefused, grpc.StatusCode.INVALID_ARGUMENT),
    (TokenTaken, grpc.StatusCode.INVALID_ARGUMENT),
    (UnknownJob, grpc.StatusCode.NOT_FOUND),
    (TooManyJobs, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (AlreadyEnded, grpc.StatusCode.FAILED_PRECONDITION),
    (LedgerRefused, grpc.StatusCode.FAILED_PRECONDITION),
    (PolicyForbids, grpc.StatusCode.PERMISSION_DENIED),
    (PolicyRefused, grpc.StatusCode.FAILED_PRECONDITION),
    (AuditRefused, grpc.StatusCode.FAILED_PRECONDITION),
)
# A status that objectives count as the caller's own fault.
CALLERS_FAULT = grpc.StatusCode.PERMISSION_DENIED
# A negative `grpc-retry-pushback-ms` tells gRPC's clients not to retry: waiting would not help.
DO_NOT_RETRY = -1


def status_of(error: Exception) -> grpc.StatusCode | None:
    """Return the gRPC status of an error; None: it is a defect, not listed above."""
    return _status_of(type(error))  # type: ignore[arg-type]  # classes can be hashed


@cache
def _status_of(raised: type[Exception]) -> grpc.StatusCode | None:
    return next((code for kind, code in STATUS if issubclass(raised, kind)), None)


@dataclass(frozen=True)
class Refusal:
    """The part of an error that a caller receives; never a stack trace.

    Attributes:
        code: the gRPC status.
        message: names the cause and what is allowed or, for a defect, the reference in the log.
        pushback_ms: milliseconds to wait before a retry, sent as `grpc-retry-pushback-ms`; None:
            not sent.
        reference: token that finds a defect in the log; empty for errors that are listed above.
        request_id: the request's own id in the log; empty if it has none.
    """

    code: grpc.StatusCode
    message: str
    pushback_ms: int | None = None
    reference: str = ""
    request_id: str = ""


def refusal_of(error: Exception) -> Refusal:
    """Convert an error to a refusal; a defect is logged with its stack trace."""
    code = status_of(error)
    if code is None:
        reference = secrets.token_hex(4)
        log.error("unforeseen error, reference %s", reference, exc_info=error)
        message = f"internal error; the server's log has it as {reference}"
        return Refusal(grpc.StatusCode.INTERNAL, message, reference=reference)
    pushback = error.pushback_ms if isinstance(error, TooMuch | NotReady) else None
    if isinstance(error, TooManyJobs):
        pushback = DO_NOT_RETRY
    return Refusal(code, shortened(str(error)), pushback)


def counted_as(error: Exception, code: grpc.StatusCode) -> grpc.StatusCode:
    """Return the status under which objectives count a call that ended with an error.

    It is the status sent, `code`, except for a tenant beyond its allowance: that caller receives
    RESOURCE_EXHAUSTED, which is not a failure of the server.
    """
    return CALLERS_FAULT if isinstance(error, OverAllowance) else code


def in_a_line(error: Exception) -> str:
    """Format a library's error in one line: its type and the first line of its message."""
    line = str(error).strip().partition("\n")[0][:LONGEST_LINE]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def shortened(message: str) -> str:
    """Cut a message to `LONGEST_MESSAGE` characters, keeping its beginning, which says what failed.

    Many clients accept 8 KiB of headers and trailers, and would report a call with more of them as
    RESOURCE_EXHAUSTED.
    """
    if len(message) <= LONGEST_MESSAGE:
        return message
    return f"{message[:LONGEST_MESSAGE]}... (cut; it has {len(message):,} characters)"
