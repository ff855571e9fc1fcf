"""Every error this package raises on purpose, and the one place where gRPC's become ours.

* CascadeError
  * InvalidRequest       the request is wrong: a column, a value, a number of draws
  * NotFound             no such table or version on this server
  * DeadlineExceeded     the answer did not come in time
  * Overloaded           the server has too much to do, or the quota is used up
  * Unavailable          no server answers, or it has no model ready
  * Cancelled            the call was cancelled
  * Unauthenticated      the server does not know who asks
  * PermissionDenied     the server knows who asks, and refuses
  * ServerError          the server failed; nothing in the request explains it
  * JobFailed            an offline job ended without results

Catch `CascadeError` for all of them. The gRPC error, where there was one, is the ``__cause__``.
Outside the tree: `MissingDependency`, an ImportError, when rows are asked for as a DataFrame or an
Arrow table and that package is not installed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc

PUSHBACK_KEY = "grpc-retry-pushback-ms"
# gRPC's message for an address without a listener; only its last words help.
_NOBODY = re.compile(
    r"^(?:connections to all backends failing|failed to connect to all addresses).*: ([^:]+)$", re.S
)
# gRPC's messages for a failed TLS handshake, with a plain explanation of each; the first match
# counts.
_NO_TLS = (
    ("certificate has expired", "the server's certificate has expired"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the server's certificate is signed by nobody whom this client trusts; "
        "Tls(ca=...), --ca, names who is",
    ),
    (
        "Hostname Verification Check failed",
        "the server's certificate is for another name; "
        "Tls(server_name=...), --server-name, says which",
    ),
    ("WRONG_VERSION_NUMBER", "the server speaks no TLS"),
    # The answer of Cascade's servers to a client that does not use TLS.
    ("got frame type 7", "the server speaks TLS, and this client does not; tls=True, --tls, does"),
    (
        "TSI_DATA_CORRUPTED",
        "the server has refused this client's certificate, or wants one; "
        "Tls(certificate=..., key=...), --cert and --key, show one",
    ),
)
# Text in messages of gRPC and of Cascade's servers about a message that is too large.
TOO_LARGE = "larger than max"


class CascadeError(Exception):
    """Root of the errors above.

    Attributes:
        code: the gRPC status behind the error; None if the client raised it by itself.
        rows: rows of the failed part, from 0, for a frame sent in parts; else None. The message
            names them by the frame's index.
    """

    code: grpc.StatusCode | None
    rows: range | None = None

    def __init__(self, message: str, *, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.code = code


class InvalidRequest(CascadeError):
    """The request is wrong; the message names the culprit and what is allowed."""


class NotFound(CascadeError):
    """The server has no such table or version; `Client.tables` lists what it has."""


class DeadlineExceeded(CascadeError):
    """The answer did not come within the timeout, or the server foresaw that it would not."""


class Overloaded(CascadeError):
    """The server's queue is full or a quota is used up.

    Attributes:
        retry_after: seconds after which the server expects to have room; None if it did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class Unavailable(CascadeError):
    """No server answers at the target, or it is starting, draining, or has no model ready."""


class Cancelled(CascadeError):
    """The call was cancelled, by this side or by the server's shutting down."""


class Unauthenticated(CascadeError):
    """The call carried no valid credentials."""


class PermissionDenied(CascadeError):
    """The credentials are valid, but not for this table or method."""


class ServerError(CascadeError):
    """The server failed, or does not speak this version of the protocol."""


class JobFailed(CascadeError):
    """An offline job failed, or somebody cancelled it; the message has its reason."""


class MissingDependency(ImportError):
    """Rows were asked for in a form whose package (pandas, pyarrow) is not installed."""


# Every status but OK; a test fails if gRPC has one that is missing here.
ERRORS: Mapping[grpc.StatusCode, type[CascadeError]] = {
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNKNOWN: ServerError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: ServerError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequest,
    grpc.StatusCode.ABORTED: Unavailable,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.UNIMPLEMENTED: ServerError,
    grpc.StatusCode.INTERNAL: ServerError,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DATA_LOSS: ServerError,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
}


class CallError(grpc.RpcError):
    """A call failure that this process detected; it has the interface of gRPC's own error."""

    def __init__(self, code: grpc.StatusCode, details: str, pushback_ms: int | None = None) -> None:
        super().__init__(f"{code.name}: {details}")
        self._code, self._details, self._pushback_ms = code, details, pushback_ms

    def code(self) -> grpc.StatusCode:
        """Return the gRPC status of the failure."""
        return self._code

    def details(self) -> str:
        """Return a description of the failure."""
        return self._details

    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return when to retry, if the server said so."""
        if self._pushback_ms is None:
            return ()
        return ((PUSHBACK_KEY, str(self._pushback_ms)),)


@dataclass(frozen=True)
class Failure:
    """Information from a failed call.

    Attributes:
        code: the gRPC status.
        details: the server's message.
        pushback: seconds that the server asks to wait before a retry; negative: do not retry; None:
            it did not say.
    """

    code: grpc.StatusCode
    details: str
    pushback: float | None = None

    @property
    def is_too_large(self) -> bool:
        """Whether a message exceeded gRPC's size limit on either side.

        This is neither a quota nor a sign of overload.
        """
        return self.code is grpc.StatusCode.RESOURCE_EXHAUSTED and TOO_LARGE in self.details

    @property
    def is_passing(self) -> bool:
        """Whether a server is present but temporarily unable to answer.

        A restarting process of a server keeps its port. If nobody listens on the port, an immediate
        retry will not help.
        """
        return self.code is grpc.StatusCode.UNAVAILABLE and not _NOBODY.search(self.details)

    @classmethod
    def of(cls, exc: grpc.RpcError) -> Failure:
        """Extract the failure from an error of `grpc` or `grpc.aio`."""
        call: Any = exc  # grpc.RpcError has no methods of its own; what is raised is also a Call
        return cls(call.code(), call.details() or "", _pushback(call.trailing_metadata()))

    def error(self, target: str) -> CascadeError:
        """Return the exception to raise for this failure; `target` is the called server."""
        message = self.details or self.code.value[1]
        if self.is_too_large:
            return InvalidRequest(
                f"{message}: ask for fewer rows, draws or columns at a time", code=self.code
            )
        if self.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            wait = self.pushback if self.pushback is not None and self.pushback >= 0 else None
            return Overloaded(message, code=self.code, retry_after=wait)
        error = ERRORS[self.code]
        if error is Unavailable:
            if no_tls := next((words for said, words in _NO_TLS if said in message), None):
                message = f"no TLS could be agreed on: {no_tls}"
            elif refused := _NOBODY.search(message):
                message = f"nobody answers there ({refused[1]})"
            message = f"{target}: {message}"
        return error(message, code=self.code)


def _pushback(metadata: Any) -> float | None:
    """Return the pushback seconds as in gRFC A6; an unreadable value means "do not retry"."""
    for key, value in metadata or ():
        if key == PUSHBACK_KEY:
            try:
                return int(value) / 1000
            except ValueError:
                return -1.0
    return None
