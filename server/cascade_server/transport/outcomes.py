"""How a unary call comes, and how a call ends: what whoever takes calls together deals in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import grpc

from cascade_server.transport import blocks
from cascade_server.transport.headers import Metadata


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


def last_block(status: Status) -> bytes:
    """The block of an answer that has no messages."""
    return blocks.INITIAL + trailers(status)


# Of a unary call: its message, or how it failed.
Outcome: TypeAlias = bytes | Status


class Arrival(Protocol):
    """A unary call whose message is there, before anything was done about it.

    Attributes:
        message: as it was sent.
        arrived, deadline: monotonic seconds; infinite where there is no deadline.
        gone: whether the caller has given up.
    """

    message: bytes
    arrived: float
    deadline: float

    @property
    def gone(self) -> bool:
        """Whether an answer would go nowhere."""

    def time_remaining(self) -> float | None:
        """Seconds to the deadline, 0 if it has passed; None: there is none."""
