"""A request in the form that all protocols share: its message, and the caller that waits.

A request may be a unary call, one of a standing stream, or a call of the Open Inference Protocol,
over this server's transport or grpcio's. Each of these has two small adapters, a `RequestMessage`
and a `WaitingCaller`; `answering` does the rest in the same way for all.
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

    Reading takes two steps, because the table named in the message decides how the rest is read.
    """

    def heading(self) -> Heading:
        """Read the table and the timeout of the request; call this first, and once.

        Raises:
            DecodeError: the message is malformed.
            BadRequest, UnknownTable: it names something that does not exist.
        """

    def read(self, runtime: Runtime, work: Work) -> SynthesisRequest | TokenDraw:
        """Read the rows and options of the request.

        Args:
            runtime: the release that is to answer.
            work: the request's deadline.

        Raises:
            BadRequest, UnknownColumn: names what is wrong and what is allowed.
        """

    def pack(self, answer: Answer | TokenAnswer) -> bytes:
        """Serialize the answer's message; called in another thread if the answer is large."""


class WaitingCaller(Protocol):
    """The receiver of an answer. (Its identity, by keys or tokens, is a `grants.Caller`.)

    Attributes:
        patient: whether the request waits for a place rather than being refused when there is none.
        is_rpc: whether the request is a whole call, rather than one request of a stream.
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
        """Whether the message has to be inflated in a later turn before it can be opened."""

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
        """Run a coroutine that will call `send` or `refuse`; cancel it if the caller hangs up."""


@dataclass(slots=True, eq=False)
class Exchange:
    """A request on its way to an answer.

    Attributes:
        message: reads the request and writes the answer.
        caller: receives the answer.
        arrived: arrival time, monotonic seconds.
        deadline: when its caller stops waiting, monotonic seconds; infinite: never.
        identity: the authenticated caller, and its permissions.
        call: counts the request; set when its turn begins.
        trace: its stages, from its turn on; None: the request is not traced.
        held: rows that the caller is charged for if the request is answered; None: none.
    """

    message: RequestMessage
    caller: WaitingCaller
    arrived: float
    deadline: float
    identity: Caller = ANYBODY
    call: Call = field(init=False)
    trace: CallTrace | None = None
    held: Held | None = None
