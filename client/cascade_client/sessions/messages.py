"""What a session sends and receives over `SynthesizeStream`; no I/O here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import InvalidStateError
from dataclasses import dataclass
from typing import Protocol

import grpc
from cascade_proto import synthesis_pb2 as pb

from cascade_client.errors import CallError
from cascade_client.turns.outcomes import was_turned_away

# Requests of one message at most: others on the connection get their turn.
MESSAGE_REQUESTS = 64
LATE = "no answer came within the timeout"
ENDED = "the server ended the stream"
CODES = {code.value[0]: code for code in grpc.StatusCode}


class StreamedError(CallError):
    """One request of a stream has failed; it reads as a failed call of its own does."""


class Future(Protocol):
    """Of `concurrent.futures` or of asyncio."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: pb.SynthesizeResponse, /) -> None:
        """Hand the answer to who waits for it."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Have the failure raised where it is waited for."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One request on its way.

    Attributes:
        id: within its stream.
        request: what is asked.
        expiry: seconds on the clock; infinite where there is no deadline.
        answer: what its caller waits for.
    """

    id: int
    request: pb.SynthesizeRequest
    expiry: float
    answer: Future


def message_of(some: Sequence[Asked], clock: Callable[[], float]) -> pb.SynthesizeStreamRequest:
    """One message with requests that somebody still waits for.

    The server counts a request's time from when it reads it: what has passed here is taken off.
    """
    out = pb.SynthesizeStreamRequest()
    for asked in some:
        if asked.answer.done():
            continue
        if asked.request.timeout_microseconds:
            left = max(1, round(1e6 * (asked.expiry - clock())))
            asked.request.timeout_microseconds = left
        out.requests.add(id=asked.id, request=asked.request)
    return out


def fail(asked: Asked, error: StreamedError) -> None:
    """Tell who waits for a request that it has failed, if anybody still does."""
    # Another thread may give up at this very moment.
    with contextlib.suppress(InvalidStateError):
        if not asked.answer.done():
            asked.answer.set_exception(error)


def settle(asked: Asked | None, answer: pb.StreamedAnswer) -> None:
    """Hand an answer to who waits for it, if anybody still does."""
    if asked is None:
        return
    if answer.WhichOneof("outcome") == "failure":
        failure = answer.failure
        pushback = None
        if failure.HasField("pushback_milliseconds"):
            pushback = failure.pushback_milliseconds
        code = CODES.get(failure.code, grpc.StatusCode.UNKNOWN)
        fail(asked, StreamedError(code, failure.message, pushback))
        return
    with contextlib.suppress(InvalidStateError):
        if not asked.answer.done():
            asked.answer.set_result(answer.response)


def broken(exc: grpc.RpcError | None) -> StreamedError:
    """How the requests of a stream that has ended have failed."""
    if exc is None:
        return StreamedError(grpc.StatusCode.UNAVAILABLE, ENDED)
    if was_turned_away(exc):
        # The stream is to be opened again, when a call of this connection has ended.
        return StreamedError(grpc.StatusCode.UNAVAILABLE, exc.details())
    return StreamedError(exc.code(), exc.details() or "")
