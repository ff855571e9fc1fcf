"""What can go wrong in the server, and the one place where it becomes a gRPC status.

ServerError
├── ConfigError         a setting is not allowed
├── GpuError            a GPU, or what drives it, is missing or refuses
│   └── PlanError       a TensorRT plan is not for this GPU or version, or cannot be built
├── BadRequest          INVALID_ARGUMENT, like protobuf's DecodeError
├── UnknownTable        NOT_FOUND
├── DeadlinePassed      DEADLINE_EXCEEDED
├── TooMuch             RESOURCE_EXHAUSTED
│   └── OverAllowance   who asks has had as much as it may
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

# Characters of what a caller is told.
LONGEST_MESSAGE = 2000
# And of what a library says of its own failure: its first line has it.
LONGEST_LINE = 200


class ServerError(Exception):
    """Base of this package's errors; the message may go to the caller."""


class ConfigError(ServerError):
    """A setting is not allowed; names it, its value and what is allowed."""


class GpuError(ServerError):
    """A GPU, or what drives it, is missing or refuses; says what, and how to get it."""


class PlanError(GpuError):
    """A TensorRT plan cannot be built, or was made for something else; says for what."""


class BadRequest(ServerError):
    """The request asks for something that cannot be; names the field and what is allowed."""


class UnknownTable(ServerError):
    """No release of that name or version."""

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
        pushback_ms: when to come back; sent as `grpc-retry-pushback-ms`.
    """

    def __init__(self, message: str, pushback_ms: int) -> None:
        super().__init__(message)
        self.pushback_ms = pushback_ms


class OverAllowance(TooMuch):
    """Who asks has had as much as it may; a server that is idle would say so too."""


class NotReady(ServerError):
    """Releases, or keys of an issuer, are still being loaded, or the server is draining.

    Attributes:
        pushback_ms: as of `TooMuch`; None: it is not known.
    """

    def __init__(self, message: str, pushback_ms: int | None = None) -> None:
        super().__init__(message)
        self.pushback_ms = pushback_ms


class TeacherFailed(ServerError):
    """The teacher is there, and failed at what it was asked; says with what."""

    @classmethod
    def of(cls, why: Exception) -> TeacherFailed:
        return cls(f"the teacher failed: {in_a_line(why)}")


class NotKnown(ServerError):
    """The server does not know who asks; says how to tell it."""


class NotPermitted(ServerError):
    """The server would do it, but not for who asks; says for whom, or from where, it would."""


class NotAllowed(ServerError):
    """The server is not run in a way that allows it; says in which way it would be."""


class ReleaseRefused(NotAllowed, ReleaseError):
    """A release is damaged, or cannot be run.

    Attributes:
        table, version: which.
    """

    def __init__(self, message: str, table: str, version: int) -> None:
        super().__init__(message)
        self.table, self.version = table, version

    @classmethod
    def of(cls, table: str, version: int, why: Exception) -> ReleaseRefused:
        """With the reason; what no release should be able to raise is named by its kind."""
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
# What its caller is to blame for, whatever the status says otherwise.
OF_CALLERS = grpc.StatusCode.PERMISSION_DENIED
# As `grpc-retry-pushback-ms`: there is no room in a moment either, so that nobody tries again.
NOT_AGAIN = -1


def status_of(error: Exception) -> grpc.StatusCode | None:
    """The status an error is answered with; None: it was not foreseen."""
    return _status_of(type(error))  # type: ignore[arg-type]  # classes can be hashed


@cache
def _status_of(raised: type[Exception]) -> grpc.StatusCode | None:
    return next((code for kind, code in STATUS if issubclass(raised, kind)), None)


@dataclass(frozen=True)
class Refusal:
    """What a caller is told of an error; never a stack trace.

    Attributes:
        code: a gRPC status.
        message: names the culprit and what is allowed, or where the log has it.
        pushback_ms: when to come back; None: nothing is said of that.
        reference: of the log's line about it; "": it was foreseen.
        request_id: by which the log has the request; "": it has none.
    """

    code: grpc.StatusCode
    message: str
    pushback_ms: int | None = None
    reference: str = ""
    request_id: str = ""


def refusal_of(error: Exception) -> Refusal:
    """What to tell the caller; an error that was not foreseen is written to the log."""
    code = status_of(error)
    if code is None:
        reference = secrets.token_hex(4)
        log.error("unforeseen error, reference %s", reference, exc_info=error)
        message = f"internal error; the server's log has it as {reference}"
        return Refusal(grpc.StatusCode.INTERNAL, message, reference=reference)
    pushback = error.pushback_ms if isinstance(error, TooMuch | NotReady) else None
    if isinstance(error, TooManyJobs):
        pushback = NOT_AGAIN
    return Refusal(code, shortened(str(error)), pushback)


def counted_as(error: Exception, code: grpc.StatusCode) -> grpc.StatusCode:
    """The status that a call counts by which ended with an error, told as `code`: no objective
    suffers from a tenant that asks for more than it may have."""
    return OF_CALLERS if isinstance(error, OverAllowance) else code


def in_a_line(error: Exception) -> str:
    """An error that is not ours, by its kind and the first line of what it says."""
    line = str(error).strip().partition("\n")[0][:LONGEST_LINE]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def shortened(message: str) -> str:
    """A message that fits where it is sent: many clients accept 8 KiB of headers and trailers, and
    end a call with more as if the server were full. What is wrong stands first, and is kept."""
    if len(message) <= LONGEST_MESSAGE:
        return message
    return f"{message[:LONGEST_MESSAGE]}... (cut; it has {len(message):,} characters)"
