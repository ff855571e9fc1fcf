"""Whose fault it is that a call was not answered; pure decisions.

What the server is to blame for spends an error budget. What no server could have answered is its
caller's, is counted apart, and neither spends a budget nor has AUTO step down for others.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TypeAlias

import grpc

# What the server is to blame for. The rest is the caller's: a request that cannot be, a table that
# is not there, a call it gave up.
BLAMED = (
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
)
# How a call ends for which there was not enough time.
OUT_OF_TIME = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)

# Seconds below which no server answers anything: to read a request and to write an answer take
# longer on any machine.
LEAST_SECONDS = 5e-5
# A call that had the process to itself and was refused for want of time would have been refused by
# any idle server. It is still the server's fault where it gave so many times what others took: then
# the server has become slow.
ALONE_FACTOR = 2.0
# A caller whose deadline passes hangs up when its own clock says so. That is before the server's
# does by as much as gRPC rounded the deadline up: a hundredth at most, and milliseconds of short
# ones.
EARLY_SHARE, EARLY_SECONDS = 0.01, 0.005


class CallerFault(StrEnum):
    """Why a call that was not answered is its caller's own."""

    HUNG_UP = "hung up"
    DEADLINE_TOO_SHORT = "deadline too short"
    BAD_REQUEST = "bad request"


# How a call is counted to have ended: by its status, but where the caller gave it less time than
# any server needs, whatever status it was told.
Ending: TypeAlias = grpc.StatusCode | CallerFault


def why_hung_up(elapsed: float, remaining: float) -> grpc.StatusCode:
    """How a call counts whose caller is gone, which gRPC tells a server whatever the reason.

    Args:
        elapsed: seconds since the call came.
        remaining: seconds to its deadline; infinite where there is none.

    Returns:
        DEADLINE_EXCEEDED if the deadline is as good as over, else CANCELLED.
    """
    if math.isinf(remaining):
        return grpc.StatusCode.CANCELLED
    early = EARLY_SECONDS + EARLY_SHARE * (elapsed + remaining)
    is_over = remaining <= early
    return grpc.StatusCode.DEADLINE_EXCEEDED if is_over else grpc.StatusCode.CANCELLED


def ending_of(code: grpc.StatusCode, given: float, idle: float, alone: bool) -> Ending:
    """How a call counts that ended with a status.

    Args:
        code: its status.
        given: seconds from its arrival to its deadline; infinite where there is none.
        idle: seconds that such a call takes a server that does nothing else; 0: not known yet.
        alone: whether the server did nothing else from its arrival to its end.

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
    """What the caller is to blame for; None: it was answered, or the server is to blame."""
    if isinstance(ending, CallerFault):
        return ending
    if ending is grpc.StatusCode.OK or ending in BLAMED:
        return None
    if ending is grpc.StatusCode.CANCELLED:
        return CallerFault.HUNG_UP
    return CallerFault.BAD_REQUEST
