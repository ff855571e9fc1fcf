"""Messages of a session over `SynthesizeStream`; no I/O."""

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

# Most requests in one message, so that others on the connection get their turn.
MESSAGE_REQUESTS = 64
LATE = "no answer came within the timeout"
ENDED = "the server ended the stream"
CODES = {code.value[0]: code for code in grpc.StatusCode}


class StreamedError(CallError):
    """Failure of one request of a stream; it has the interface of a failed call's error."""


class Future(Protocol):
    """Common interface of futures of `concurrent.futures` and of asyncio."""

    def done(self) -> bool:
        """Return whether the caller no longer waits."""

    def set_result(self, result: pb.SynthesizeResponse, /) -> None:
        """Pass the answer to the waiting caller."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Raise the failure in the waiting caller."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A pending request.

    Attributes:
        id: within its stream.
        request: its message.
        expiry: seconds on the clock; infinite without a deadline.
        answer: the future that its caller waits for.
    """

    id: int
    request: pb.SynthesizeRequest
    expiry: float
    answer: Future


def message_of(some: Sequence[Asked], clock: Callable[[], float]) -> pb.SynthesizeStreamRequest:
    """Build one message of the requests whose callers still wait.

    The server measures a request's time from when it reads it, so the time already spent here is
    subtracted.
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
    """Report a failed request to its caller, if it still waits."""
    # The caller may give up in another thread at this very moment.
    with contextlib.suppress(InvalidStateError):
        if not asked.answer.done():
            asked.answer.set_exception(error)


def settle(asked: Asked | None, answer: pb.StreamedAnswer) -> None:
    """Pass an answer to its caller, if it still waits."""
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
    """Return the error for the pending requests of a stream that has ended."""
    if exc is None:
        return StreamedError(grpc.StatusCode.UNAVAILABLE, ENDED)
    if was_turned_away(exc):
        # The stream must be reopened when a call of this connection has ended.
        return StreamedError(grpc.StatusCode.UNAVAILABLE, exc.details())
    return StreamedError(exc.code(), exc.details() or "")
