"""Interpretation of a call's end for the queue, and errors for calls that the queue refuses."""

from __future__ import annotations

import grpc

from cascade_client.errors import DeadlineExceeded, Failure, Overloaded
from cascade_client.turns.queue import End
from cascade_client.turns.throttle import FADING

# Seconds before a rejected call is sent again if no other call of this channel is in flight, whose
# end would trigger it.
AGAIN = 0.002
# gRPC's message for a call beyond the connection's limit; a test checks this.
TOO_MANY_STREAMS = "Too many streams"

ENDS = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: End.REFUSED,
    grpc.StatusCode.DEADLINE_EXCEEDED: End.LATE,
}


def end_of(error: grpc.RpcError) -> End:
    """Classify the error of a failed call."""
    if was_turned_away(error):
        return End.TURNED_AWAY
    if Failure.of(error).is_too_large:
        return End.FAILED
    return ENDS.get(error.code(), End.FAILED)


def was_turned_away(error: grpc.RpcError) -> bool:
    """Return whether a call never left this process, because the connection's limit was reached."""
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and TOO_MANY_STREAMS in (
        error.details() or ""
    )


def foreseen(lateness: float, waiting: int) -> Overloaded:
    """Build the error for a call that does not wait, because its answer would be this many seconds
    late.
    """
    return Overloaded(
        f"{waiting} calls of this client wait for the server, and this one's answer is predicted "
        f"{1e3 * lateness:.0f} ms later than its timeout allows; nothing was sent",
        retry_after=lateness,
    )


def hasty(left: float) -> Overloaded:
    """Build the error for a call that is not sent, because others with as little time left were
    late.
    """
    return Overloaded(
        f"in the last seconds calls of this client came late that had as little time left as this "
        f"one has, {1e3 * left:.3g} ms; it was not sent",
        retry_after=AGAIN,
    )


def throttled() -> Overloaded:
    """Build the error for a call that is not sent, because the server refuses most of this client's
    calls.
    """
    return Overloaded(
        "the server has refused most of what this client has sent in the last seconds; this call "
        "was not sent",
        retry_after=FADING,
    )


def dropped() -> Overloaded:
    """Build the error for a call that waited while others took longer than predicted."""
    return Overloaded(
        "the call waited for its turn while others took longer than predicted, and its answer "
        "would be late by now; nothing was sent"
    )


def expired() -> DeadlineExceeded:
    """Build the error for a call that waited until its deadline."""
    return DeadlineExceeded("the deadline passed while the call waited for its turn")
