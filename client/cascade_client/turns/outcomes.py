"""What a call's end says to the queue, and what a caller is told whom the queue refuses."""

from __future__ import annotations

import grpc

from cascade_client.errors import DeadlineExceeded, Failure, Overloaded
from cascade_client.turns.queue import End
from cascade_client.turns.throttle import FADING

# Seconds before a call is sent again that was turned away while no other of this channel was in
# flight, whose end would be the sign for it.
AGAIN = 0.002
# How gRPC says that a call is one too many for its connection; a test holds it to that.
TOO_MANY_STREAMS = "Too many streams"

ENDS = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: End.REFUSED,
    grpc.StatusCode.DEADLINE_EXCEEDED: End.LATE,
}


def end_of(error: grpc.RpcError) -> End:
    """How a call has ended that failed so."""
    if was_turned_away(error):
        return End.TURNED_AWAY
    if Failure.of(error).is_too_large:
        return End.FAILED
    return ENDS.get(error.code(), End.FAILED)


def was_turned_away(error: grpc.RpcError) -> bool:
    """Whether a call never left this process, since the server allows its connection no more."""
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and TOO_MANY_STREAMS in (
        error.details() or ""
    )


def foreseen(lateness: float, waiting: int) -> Overloaded:
    """A call is not let wait, since its answer would be late by so many seconds."""
    return Overloaded(
        f"{waiting} calls of this client wait for the server, and this one's answer is predicted "
        f"{1e3 * lateness:.0f} ms later than its timeout allows; nothing was sent",
        retry_after=lateness,
    )


def hasty(left: float) -> Overloaded:
    """A call is not sent, since others with as little time left came late."""
    return Overloaded(
        f"in the last seconds calls of this client came late that had as little time left as this "
        f"one has, {1e3 * left:.3g} ms; it was not sent",
        retry_after=AGAIN,
    )


def throttled() -> Overloaded:
    """A call is not sent, since the server refuses most of what this client sends it."""
    return Overloaded(
        "the server has refused most of what this client has sent in the last seconds; this call "
        "was not sent",
        retry_after=FADING,
    )


def dropped() -> Overloaded:
    """A call was let wait, and then others took longer than predicted."""
    return Overloaded(
        "the call waited for its turn while others took longer than predicted, and its answer "
        "would be late by now; nothing was sent"
    )


def expired() -> DeadlineExceeded:
    """A call waited until its deadline."""
    return DeadlineExceeded("the deadline passed while the call waited for its turn")
