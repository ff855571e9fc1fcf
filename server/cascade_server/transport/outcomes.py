"""How a unary call comes, and how a call ends: what whoever takes calls together deals in."""

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
        code: gRPC's.
        message: for the caller.
        metadata: sent after the answer.
    """

    code: grpc.StatusCode
    message: str = ""
    metadata: Metadata = ()


OK = Status(grpc.StatusCode.OK)


def trailers(status: Status) -> bytes:
    """The block after an answer's messages."""
    metadata = tuple((name, value) for name, value in status.metadata)
    return blocks.trailers(status.code.value[0], status.message, metadata)


@lru_cache(maxsize=1024)
def refusal_block(status: Status) -> bytes:
    """The block of a refusal at the headers, which has no messages; kept, since a server that has
    too much to do says the same thousands of times a second. A status that holds a caller's text
    is not to be kept: use `trailers`."""
    return blocks.INITIAL + trailers(status)


# Of a unary call: its message, or how it failed.
Outcome: TypeAlias = bytes | Status


class Arrival(Protocol):
    """A unary call that has sent all, before anything was done about it.

    Attributes:
        head: what its headers say.
        message: as it was sent, once it is opened.
        arrived, deadline: monotonic seconds; infinite where there is no deadline.
        when_gone: called if the caller hangs up; None: nobody wants to know.
        head: what its headers say.
    """

    head: Head
    message: bytes
    arrived: float
    deadline: float
    when_gone: Callable[[], None] | None

    @property
    def gone(self) -> bool:
        """Whether an answer would go nowhere."""

    @property
    def sender(self) -> Peer:
        """The other end of the connection."""

    @property
    def paused(self) -> bool:
        """Whether its message is not to be inflated in this turn: enough has been."""

    def open(self) -> bool:
        """Have the message be there; False: it cannot be, and the call has ended."""

    def ends(self, outcome: Outcome) -> None:
        """End the call with its one message, or a status."""

    def start(self, work: Coroutine[Any, Any, Outcome]) -> None:
        """Run what says how the call ends in a task of its own, which ends with the call."""

    def time_remaining(self) -> float | None:
        """Seconds to the deadline, 0 if it has passed; None: there is none."""
