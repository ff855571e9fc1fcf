"""A line for each call that is refused or fails: which, whose, and why, and nothing of its rows."""

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
# What may be taken for an identifier: visible, and no longer than those that there are.
_IDENTIFIER = re.compile(rb"[!-~]{1,128}")
REFUSED = "a call was refused"

Headers = Iterable[tuple[bytes, bytes]]


def request_id_of(headers: Headers) -> str:
    """What a caller calls its request; "": it says nothing, or nothing that may be repeated."""
    for name, value in headers:
        if name == _NAME:
            return value.decode("ascii") if _IDENTIFIER.fullmatch(value) else ""
    return ""


def new_request_id() -> str:
    """Of a request that its caller has no name for."""
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
    """Write a line about a call that was not answered, unless there are too many like it.

    Args:
        code: its status.
        headers: that it came with.
        method: "/package.Service/Method".
        why: the kind of error; not what it says, which may quote a row.
        callers_own: whether that was its caller's own fault, which is of less interest.
        table, service, tier: as it is counted; "": not known.
        trace_id: of its trace, where the server has one; else what its headers say.
        reference: of another line about the same.
        gives_back: whether the caller is told the request's id.

    Returns:
        The request's id to give back: its caller's own, or what the line calls it; "": none.
    """
    level = logging.INFO if callers_own else logging.WARNING
    # First of all: thousands in a second may be refused.
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
