"""A request as every protocol hands it over: its message, and the caller who waits for an answer.

A request may be a unary call, one of a standing stream, or a call of the Open Inference Protocol,
over this server's transport or grpcio's. Each of these has two small adapters, a `RequestMessage`
and a `WaitingCaller`; everything else is the same for all, and in `answering`.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from cascade_server.access.grants import ANYBODY, Caller
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
    """How one protocol reads a request and writes its answer.

    It is read in two steps, since the table that is named decides how the rest is read.
    """

    def heading(self) -> Heading:
        """Read which table is asked, and for how long; to be called first, and once.

        Raises:
            DecodeError: the message is malformed.
            BadRequest, UnknownTable: it names something that does not exist.
        """

    def read(self, runtime: Runtime, work: Work) -> SynthesisRequest | TokenDraw:
        """Read what is asked of a release.

        Args:
            runtime: the release that is to answer.
            work: until when.

        Raises:
            BadRequest, UnknownColumn: names what is wrong and what is allowed.
        """

    def pack(self, answer: Answer | TokenAnswer) -> bytes:
        """Serialize the message that answers it; called in a thread where the answer is large."""


class WaitingCaller(Protocol):
    """Where an answer goes. (Who the caller is by its keys or tokens is a `grants.Caller`.)

    Attributes:
        patient: whether the request waits for a place rather than being refused when there is none.
        is_rpc: whether the request is a whole call; else it is one of a stream.
    """

    patient: bool
    is_rpc: bool

    @property
    def method(self) -> str:
        """The called method, "/package.Service/Method"."""

    @property
    def headers(self) -> Fields:
        """The headers of its call."""

    @property
    def gone(self) -> bool:
        """Whether the caller has hung up."""

    @property
    def paused(self) -> bool:
        """Whether opening the message has to wait for a later turn, having to be inflated."""

    def open(self) -> bool:
        """Make the message readable, inflating it if need be.

        Returns:
            Whether that worked; if not, the caller has been told why.
        """

    def send(self, message: bytes) -> None:
        """Send the answer, which ends the exchange."""

    def refuse(self, refusal: Refusal) -> None:
        """Send an error, which ends the exchange."""

    def wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine that will call `send` or `refuse`; it is cancelled if the caller goes."""


@dataclass(slots=True, eq=False)
class Exchange:
    """A request on its way to an answer.

    Attributes:
        message: reads the request, and writes the answer.
        caller: where the answer goes.
        arrived: when it came, monotonic seconds.
        deadline: when its caller stops waiting, monotonic seconds; infinite: never.
        identity: who the caller has shown to be, and what that caller may do.
        call: where it is counted; set when its turn begins.
        trace: its stages, from its turn on; None: it is not traced.
        held: rows that the caller is charged for if it is answered; None: none.
    """

    message: RequestMessage
    caller: WaitingCaller
    arrived: float
    deadline: float
    identity: Caller = ANYBODY
    call: Call = field(init=False)
    trace: CallTrace | None = None
    held: Held | None = None
