"""One request at an edge of the server: the message that it came in, and the caller who waits.

Each edge, a unary call, a request of a stream, an Open Inference call, over this server's transport
or grpcio's, is two small adapters. What lies between them is the same for all; see `answering`.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from cascade_server.access.grants import ANYBODY
from cascade_server.access.grants import Caller as Asking
from cascade_server.access.rates import Held
from cascade_server.cascade.answer import Answer
from cascade_server.cascade.token_draw import TokenAnswer, TokenDraw
from cascade_server.counts.calls import Call
from cascade_server.deadline import Work
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import Refusal
from cascade_server.telemetry.call_trace import CallTrace
from cascade_server.transport.http2.headers import Fields
from cascade_server.wire.synthesis_request import Heading, SynthesisRequest


class RequestMessage(Protocol):
    """What was sent, and how its answer is written. It is read in two steps: who is to answer
    decides how the rest is read."""

    def heading(self) -> Heading:
        """Who is to answer, and until when; to be called first, and once.

        Raises:
            DecodeError, BadRequest, UnknownTable: it cannot be read, or asks for what is not there.
        """

    def read(self, runtime: Runtime, work: Work) -> SynthesisRequest | TokenDraw:
        """What is asked of a release.

        Raises:
            BadRequest, UnknownColumn: names what is wrong and what is allowed.
        """

    def pack(self, answer: Answer | TokenAnswer) -> bytes:
        """The message that answers it; large ones are made in a thread."""


class Caller(Protocol):
    """Who waits for an answer.

    Attributes:
        patient: whether the request is rather left waiting than refused for want of room.
        is_rpc: whether the request is a whole call; else it is one of a stream.
    """

    patient: bool
    is_rpc: bool

    @property
    def method(self) -> str:
        """That was called: "/package.Service/Method"."""

    @property
    def headers(self) -> Fields:
        """That the call came with."""

    @property
    def gone(self) -> bool:
        """Whether an answer would go nowhere."""

    @property
    def paused(self) -> bool:
        """Whether the message is not to be opened in this turn."""

    def open(self) -> bool:
        """Have the message be there; False: it cannot be, and the caller has been told."""

    def send(self, message: bytes) -> None:
        """Send the answer, which ends the exchange."""

    def refuse(self, refusal: Refusal) -> None:
        """Say what is wrong instead."""

    def wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what ends with `send` or `refuse`, until the caller is gone."""


@dataclass(slots=True, eq=False)
class Exchange:
    """A request and its answer.

    Attributes:
        message, caller: as above.
        arrived, deadline: monotonic seconds; infinite where there is no deadline.
        asks: in whose name.
        call: where it is counted, from its turn on.
        trace: its stages, from its turn on, where it is traced.
        held: rows that its caller is charged for if it is answered.
    """

    message: RequestMessage
    caller: Caller
    arrived: float
    deadline: float
    asks: Asking = ANYBODY
    call: Call = field(init=False)
    trace: CallTrace | None = None
    held: Held | None = None
