"""A log line for each refused or failed call: which, whose, and why, without any of its rows."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Iterable

import grpc

from cascade_server.telemetry import logs
from cascade_server.telemetry.trace_context import context_of

log = logging.getLogger("cascade.calls")

REQUEST_ID = "x-request-id"
_NAME = REQUEST_ID.encode()
# What is accepted as an identifier: printable characters, no longer than common identifiers.
_IDENTIFIER = re.compile(rb"[!-~]{1,128}")
REFUSED = "a call was refused"

Headers = Iterable[tuple[bytes, bytes]]


def request_id_of(headers: Headers) -> str:
    """Return the caller's identifier of its request; "" if there is none that may be repeated."""
    for name, value in headers:
        if name == _NAME:
            return value.decode("ascii") if _IDENTIFIER.fullmatch(value) else ""
    return ""


def new_request_id() -> str:
    """Make an identifier for a request that its caller has not named."""
    return f"{random.getrandbits(64):016x}"


def refused(
    code: grpc.StatusCode,
    headers: Headers,
    *,
    method: str,
    why: str,
    callers_own: bool,
    table: str = "",
    service: str = "",
    tier: str = "",
    trace_id: str = "",
    reference: str = "",
    gives_back: bool = True,
) -> str:
    """Log a call that was not answered, unless there are too many like it.

    Args:
        code: the call's status.
        headers: the call's headers.
        method: "/package.Service/Method".
        why: the kind of error; not its message, which may quote a row.
        callers_own: whether it was the caller's own fault, which matters less.
        table, service, tier: what it counts as; "" if unknown.
        trace_id: identifier of its trace if the server traces it; otherwise that of the headers
            counts.
        reference: reference of another line about the same call.
        gives_back: whether the caller is sent the request's id.

    Returns:
        The request's id to send back: the caller's own, or the one in the log line; "" for none.
    """
    level = logging.INFO if callers_own else logging.WARNING
    # Checked first: thousands of calls per second may be refused.
    suppressed = None
    if log.isEnabledFor(level):
        suppressed = logs.LIMIT.lets((log.name, REFUSED, code.name, why, table))
    if suppressed is None:
        return request_id_of(headers) if gives_back else ""
    request_id = request_id_of(headers) or new_request_id()
    if not trace_id and (context := context_of(headers)) is not None:
        trace_id = context.trace_id
    fields = {
        "code": code.name,
        "reason": why,
        "method": method.removeprefix("/"),
        "table": table,
        "class": service,
        "tier": tier,
        "request_id": request_id,
        "trace_id": trace_id,
        "reference": reference,
    }
    known = {name: value for name, value in fields.items() if value}
    log.log(level, REFUSED, extra={"fields": known, "suppressed": suppressed})
    return request_id
