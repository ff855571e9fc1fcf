"""Refusals of a `FakeServer`, with the status codes of a real server."""

from __future__ import annotations

from collections.abc import Mapping

import grpc

from cascade_client.errors import (
    Cancelled,
    CascadeError,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    ServerError,
    Unauthenticated,
    Unavailable,
)
from cascade_client.sessions.messages import StreamedError
from cascade_client.testing.tables import Asked
from cascade_client.values.descriptions import TableDescription

AS_ASKED = "refused, as the test asked for"
# Status for which the client raises each error; a test checks this.
CODES: Mapping[type[CascadeError], grpc.StatusCode] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    Cancelled: grpc.StatusCode.CANCELLED,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    ServerError: grpc.StatusCode.INTERNAL,
}


def check(asked: Asked, table: TableDescription) -> None:
    """Refuse unknown columns, as a server does."""
    names = [name for row in asked.rows for name in row] + list(asked.columns or ())
    for name in names:
        if table.column(name) is None:
            known = ", ".join(column.name for column in table.columns)
            raise StreamedError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"{table.table} has no column {name!r}; its columns: {known}",
            )


def as_rpc_error(error: CascadeError | type[CascadeError]) -> StreamedError:
    """Convert an error to its form on the wire."""
    if isinstance(error, type):
        error = error(AS_ASKED)
    pushback = None
    if isinstance(error, Overloaded) and error.retry_after is not None:
        pushback = round(1000 * error.retry_after)
    return StreamedError(error.code or CODES[type(error)], str(error), pushback)
