"""The types that a `Grouped` works with: a complete unary call, and how a call ends."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import grpc

from cascade_server.transport.http2 import blocks
from cascade_server.transport.http2.headers import Head, Metadata
from cascade_server.transport.peer import Peer


@dataclass(frozen=True)
class Status:
    """How a call ends.

    Attributes:
        code: the gRPC status.
        message: the text for the caller.
        metadata: trailing metadata.
    """

    code: grpc.StatusCode
    message: str = ""
    metadata: Metadata = ()


OK = Status(grpc.StatusCode.OK)


def trailers(status: Status) -> bytes:
    """Return the header block that follows an answer's messages."""
    metadata = tuple((name, value) for name, value in status.metadata)
    return blocks.trailers(status.code.value[0], status.message, metadata)


@lru_cache(maxsize=1024)
def refusal_block(status: Status) -> bytes:
    """Return the header block that refuses a call without any message.

    Cached, since an overloaded server sends the same thousands of times a second. For a status that
    contains a caller's text use `trailers`, which caches nothing.
    """
    return blocks.INITIAL + trailers(status)


# How a unary call ends: with its answer's message, or with a status.
Outcome: TypeAlias = bytes | Status


class Arrival(Protocol):
    """A unary call that is complete and not answered yet.

    Attributes:
        head: its headers.
        message: its message, once `open` has returned True.
        arrived, deadline: monotonic seconds; infinite if there is no deadline.
        when_gone: called if the caller hangs up; None: no callback.
    """

    head: Head
    message: bytes
    arrived: float
    deadline: float
    when_gone: Callable[[], None] | None

    @property
    def gone(self) -> bool:
        """Whether the caller has hung up."""

    @property
    def sender(self) -> Peer:
        """The other end of the connection."""

    @property
    def paused(self) -> bool:
        """Whether the message must be inflated in a later turn: this one has inflated enough."""

    def open(self) -> bool:
        """Make the message readable, inflating it if need be; False: the call has ended."""

    def ends(self, outcome: Outcome) -> None:
        """End the call with its one message, or with a status."""

    def start(self, work: Coroutine[Any, Any, Outcome]) -> None:
        """Run work that returns how the call ends, in a task that is cancelled with the call."""

    def time_remaining(self) -> float | None:
        """Return the seconds to the deadline, 0 if it has passed; None: there is none."""
