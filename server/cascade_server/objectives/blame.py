"""Decides whose fault it is that a call was not answered; pure.

The server's failures spend an error budget. A call that no server could have answered is its
caller's fault: it is counted separately, spends no budget and does not make AUTO step down for
others.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TypeAlias

import grpc

# Statuses that are the server's fault. All others are the caller's: an invalid request, a table
# that does not exist, a call that the caller gave up.
BLAMED = (
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
)
# Statuses of calls that ran out of time.
OUT_OF_TIME = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)

# No server answers in less time, in seconds: reading a request and writing an answer take longer on
# any machine.
LEAST_SECONDS = 5e-5
# A call that had the process to itself and was refused for lack of time would have been refused by
# any idle server. It is still the server's fault if its deadline was this many times the usual
# duration: then the server has become slow.
ALONE_FACTOR = 2.0
# A caller hangs up when its deadline passes on its own clock. The server's deadline is later,
# because gRPC rounds it up: by a hundredth at most, or by milliseconds if it is short.
EARLY_SHARE, EARLY_SECONDS = 0.01, 0.005


class CallerFault(StrEnum):
    """Why an unanswered call is its caller's fault."""

    HUNG_UP = "hung up"
    DEADLINE_TOO_SHORT = "deadline too short"
    BAD_REQUEST = "bad request"


# How a call counts: by its status, unless its caller gave it less time than any server needs,
# whatever the status.
Ending: TypeAlias = grpc.StatusCode | CallerFault


def why_hung_up(elapsed: float, remaining: float) -> grpc.StatusCode:
    """Return the status of a call whose caller is gone; gRPC reports no reason for that.

    Args:
        elapsed: seconds since the call arrived.
        remaining: seconds until its deadline; infinite if it has none.

    Returns:
        DEADLINE_EXCEEDED if the deadline has almost passed, else CANCELLED.
    """
    if math.isinf(remaining):
        return grpc.StatusCode.CANCELLED
    early = EARLY_SECONDS + EARLY_SHARE * (elapsed + remaining)
    is_over = remaining <= early
    return grpc.StatusCode.DEADLINE_EXCEEDED if is_over else grpc.StatusCode.CANCELLED


def ending_of(code: grpc.StatusCode, given: float, idle: float, alone: bool) -> Ending:
    """Return how a call with a status counts.

    Args:
        code: the call's status.
        given: seconds from its arrival to its deadline; infinite if it has none.
        idle: seconds that such a call takes on an idle server; 0 if unknown.
        alone: whether the server handled no other call from its arrival to its end.

    Returns:
        DEADLINE_TOO_SHORT if it ran out of time that would not have been enough for any server;
        else its status.
    """
    if code in OUT_OF_TIME:
        needed = idle * ALONE_FACTOR if alone else idle
        if given < max(LEAST_SECONDS, needed):
            return CallerFault.DEADLINE_TOO_SHORT
    return code


def caller_fault(ending: Ending) -> CallerFault | None:
    """Return the caller's fault; None if the call was answered, or the server is to blame."""
    if isinstance(ending, CallerFault):
        return ending
    if ending is grpc.StatusCode.OK or ending in BLAMED:
        return None
    if ending is grpc.StatusCode.CANCELLED:
        return CallerFault.HUNG_UP
    return CallerFault.BAD_REQUEST
