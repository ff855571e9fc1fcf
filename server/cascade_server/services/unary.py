"""Adapts unary calls to `turns`, over this server's transport or over grpcio's."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, TypeAlias

import grpc

from cascade_server.access.asking import asking
from cascade_server.access.grants import ANYBODY, Caller, priority_of
from cascade_server.counts.calls import Call
from cascade_server.counts.sla import Sla
from cascade_server.counts.unread import Asked
from cascade_server.errors import Refusal, counted_as, refusal_of
from cascade_server.objectives.blame import BLAMED
from cascade_server.services.exchange import Exchange, RequestMessage
from cascade_server.services.synthesize_message import Sent
from cascade_server.services.turns import Turns
from cascade_server.telemetry import call_log
from cascade_server.telemetry.call_trace import CallTrace, traced
from cascade_server.telemetry.tracer import Tracer
from cascade_server.terms import Priority, ServiceClass
from cascade_server.transport import Arrival, Outcome, Peer, Status
from cascade_server.transport.http2.headers import Fields, Head, Metadata
from cascade_server.wire.announced import announced

# grpc has no types; the methods used are time_remaining, set_trailing_metadata and abort.
Context: TypeAlias = Any


class UnaryCalls:
    """Queues the calls of one method; a `transport.Grouped`.

    Args:
        turns: the queue that all requests share.
        sla: counts calls that are refused at their headers.
        message: creates the reader and writer of a call from its message and its caller.
        method: "/package.Service/Method".
        identify: finds the caller by the call's headers and the names in its certificate; None:
            access is not configured, and anybody may call.
        tracer: traces calls that are refused at their headers; None: nothing is traced.
    """

    def __init__(
        self,
        turns: Turns,
        sla: Sla,
        message: Callable[[Sent, Caller], RequestMessage],
        method: str,
        identify: Callable[[Fields, tuple[str, ...]], Caller | Refusal] | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._turns, self._sla, self._message, self._identify = turns, sla, message, identify
        self._method, self._tracer = method, tracer
        # The last refusal and its status: many calls in a row are refused alike.
        self._refusal: Refusal | None = None
        self._status: Status | None = None

    # Over this server's transport, which calls `admit` and then `came`.

    def admit(
        self, arrived: float, deadline: float, headers: Fields, crowd: int, peer: Peer
    ) -> Status | None:
        """Return the status that refuses a call at its headers; None: it may wait for its turn.

        See `transport.turns.Grouped`. Deciding before the message is read lets an overloaded server
        refuse nearly ten calls in the time that it takes to answer one.
        """
        refusal = self._turns.refusal(arrived, deadline, crowd=crowd)
        if refusal is None:
            return None
        # A refused call is counted by its caller's priority; others are identified in `came`.
        identify = self._identify
        identity = ANYBODY if identify is None else identify(headers, peer.certificate_names)
        self._count(refusal, arrived, deadline, headers, priority_of(identity))
        if refusal is not self._refusal:
            self._refusal = refusal
            self._status = _door_status(refusal.message, refusal.pushback_ms)
        return self._status

    def _count(
        self,
        refusal: Refusal,
        arrived: float,
        deadline: float,
        headers: Fields,
        priority: Priority,
    ) -> None:
        """Count a call that was refused at its headers."""
        asked = _asked(headers)
        if priority is Priority.OFFLINE:
            asked = _as_offline(asked[0])
        self._sla.refused_unread(asked, refusal.code, arrived, deadline)
        call_log.refused(
            refusal.code,
            headers,
            method=self._method,
            why="refused at its headers",
            callers_own=False,
            table=self._sla.label_of(asked[0]),
            service=asked[1],
            gives_back=False,
        )
        if self._tracer is not None:
            labels = self._sla.label_of(asked[0]), asked[1]
            self._tracer.refused(headers, self._method, arrived, refusal.code, labels)

    def came(self, arrival: Arrival) -> None:
        """Queue a call whose message has arrived."""
        identity = ANYBODY
        if self._identify is not None:
            found = self._identify(arrival.head.headers, arrival.sender.certificate_names)
            if isinstance(found, Refusal):
                # The call passed at its headers; its token has expired or its key is gone since.
                arrival.ends(status_of(found))
                return
            identity = found
        message, caller = self._message(arrival, identity), TransportCaller(arrival)
        arrival.when_gone = self._turns.one_gone
        self._turns.add(Exchange(message, caller, arrival.arrived, arrival.deadline, identity))

    # Over grpcio's transport, which makes a task of each call.

    async def handle(self, message: bytes, context: Context) -> bytes:
        """Queue a call, and wait for its answer."""
        now, left = time.monotonic(), context.time_remaining()
        deadline = math.inf if left is None else now + left
        headers, identity = headers_of(context), asking()
        if (refusal := self._turns.refusal(now, deadline)) is not None:
            self._count(refusal, now, deadline, headers, priority_of(identity))
            await end_refused(context, refusal)
        caller = GrpcioCaller(self._method, headers)
        asked = self._message(SimpleNamespace(message=message), identity)
        self._turns.add(Exchange(asked, caller, now, deadline, identity))
        outcome = await caller.outcome()
        if isinstance(outcome, Refusal):
            await end_refused(context, outcome)
        assert isinstance(outcome, bytes)
        return outcome


def _asked(headers: Fields) -> Asked:
    """Return the table and class that a call names in its headers."""
    # Headers that differ only in timeouts are one tuple, which can be cached; see `headers.Heads`.
    return _asked_before(headers) if isinstance(headers, tuple) else _asked_now(headers)


def _asked_now(headers: Fields) -> Asked:
    table, service = announced(headers)
    # A class without a table does not name an objective: it counts as real time.
    return table, (service if table is not None else None) or ServiceClass.REALTIME


_asked_before = lru_cache(maxsize=64)(_asked_now)


@lru_cache(maxsize=64)
def _as_offline(table: str | None) -> Asked:
    """Return the table with the class of low-priority callers; cached to be the same tuple."""
    return table, ServiceClass.OFFLINE


def headers_of(context: Context) -> Fields:
    """Return the headers of a handler's call, over this server's transport or over grpcio's."""
    head = getattr(context, "head", None)
    if isinstance(head, Head):
        return head.headers
    return [(name.encode(), _bytes(value)) for name, value in context.invocation_metadata()]


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


class TransportCaller:
    """The caller of a unary call over this server's transport; a `WaitingCaller`."""

    __slots__ = ("_arrival", "_is_waited_for", "_outcome")

    patient = False
    is_rpc = True

    def __init__(self, arrival: Arrival) -> None:
        self._arrival = arrival
        self._is_waited_for = False
        self._outcome: Outcome = b""

    @property
    def method(self) -> str:
        """The called method, "/package.Service/Method"."""
        return self._arrival.head.path

    @property
    def headers(self) -> Fields:
        """The headers of the call."""
        return self._arrival.head.headers

    @property
    def gone(self) -> bool:
        """Whether the caller has hung up."""
        return self._arrival.gone

    @property
    def paused(self) -> bool:
        """Whether the message is compressed, and enough has been inflated in this turn."""
        return self._arrival.paused

    def open(self) -> bool:
        """Make the message readable, inflating it if need be; False: the call has ended."""
        self._arrival.when_gone = None
        return self._arrival.open()

    def send(self, message: bytes) -> None:
        """End the call with its answer; after `wait_for`, once the work is done."""
        self._end(message)

    def refuse(self, refusal: Refusal) -> None:
        """End the call with an error's status."""
        self._end(status_of(refusal))

    def _end(self, outcome: Outcome) -> None:
        if self._is_waited_for:
            self._outcome = outcome
        else:
            self._arrival.ends(outcome)

    def wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work in the call's own task, which is cancelled when the caller hangs up."""
        self._is_waited_for = True
        self._arrival.start(self._run(work))

    async def _run(self, work: Coroutine[Any, Any, None]) -> Outcome:
        await work
        return self._outcome


class GrpcioCaller:
    """The caller of a unary call over grpcio; the call's handler awaits `outcome`."""

    patient = False
    paused = False
    is_rpc = True

    def __init__(self, method: str, headers: Fields) -> None:
        self.method, self.headers = method, headers
        self._work: Coroutine[Any, Any, None] | None = None
        self._turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outcome: bytes | Refusal = b""
        self._is_gone = False

    @property
    def gone(self) -> bool:
        """Whether the caller has hung up."""
        return self._is_gone

    def open(self) -> bool:
        """Return True at once: grpcio has already read and inflated the message."""
        return True

    def send(self, message: bytes) -> None:
        """Have the handler return the answer."""
        self._ends(message)

    def refuse(self, refusal: Refusal) -> None:
        """Have the handler end the call with an error's status."""
        self._ends(refusal)

    def _ends(self, outcome: bytes | Refusal) -> None:
        self._outcome = outcome
        self._go_on()

    def wait_for(self, work: Coroutine[Any, Any, None]) -> None:
        """Have the handler run work, and return what the work sends."""
        self._work = work
        self._go_on()

    def _go_on(self) -> None:
        if not self._turn.done():
            self._turn.set_result(None)

    async def outcome(self) -> bytes | Refusal:
        """Wait, in the handler's task, for the turn and for the work that it may have started."""
        try:
            await self._turn
        except asyncio.CancelledError:
            self._is_gone = True
            if self._work is not None:
                # Its turn came at the same moment: the work notices the hang-up, and counts it.
                await self._work
            raise
        if self._work is not None:
            await self._work
        return self._outcome


def status_of(refusal: Refusal) -> Status:
    """Return the status that ends a refused call."""
    return Status(refusal.code, refusal.message, _trailing(refusal))


def _trailing(refusal: Refusal) -> Metadata:
    """Return a refusal's trailing metadata: when to retry, and the request's id in the log."""
    told = () if refusal.pushback_ms is None else (pushback(refusal.pushback_ms),)
    return (*told, (call_log.REQUEST_ID, refusal.request_id)) if refusal.request_id else told


@lru_cache(maxsize=1024)
def _door_status(message: str, pushback_ms: int | None) -> Status:
    """Return the status of a refusal at the headers; cached, because the same ones recur."""
    return status_of(Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, message, pushback_ms))


def pushback(milliseconds: int) -> tuple[str, str]:
    """Return the metadata that tells a refused caller when to retry."""
    return "grpc-retry-pushback-ms", str(milliseconds)


async def end_refused(context: Any, refusal: Refusal) -> Any:
    """End a call of either transport with a refusal; raises `AbortError`, as its `abort` does."""
    if metadata := _trailing(refusal):
        context.set_trailing_metadata(metadata)
    await context.abort(refusal.code, refusal.message)


def begin_trace(
    tracer: Tracer | None, call: Call, context: Context, method: str
) -> CallTrace | None:
    """Start the trace of a call that has its own handler and task; None: it is not traced."""
    if tracer is None:
        return None
    trace = call.watcher = tracer.begin(headers_of(context), method, time.monotonic())
    traced.set(trace)
    return trace


async def refuse(context: Context, error: Exception, call: Call | None = None) -> Any:
    """End a call with the status of an error, log it, and count it.

    Handlers give it every `Exception`: of what escaped from one its caller would hear UNKNOWN, and
    over grpcio the text of the error too, which may name files of the server.

    Args:
        context: the call's context, over either transport.
        error: the error; a defect is sent as INTERNAL, without its stack trace.
        call: counts the call; None: it belongs to no objective.

    Raises:
        AbortError: always, as the transports' `abort` does.
    """
    if isinstance(error, grpc.aio.AbortError):
        raise error
    refusal = refusal_of(error)
    if call is not None:
        call.ends(counted_as(error, refusal.code))
    head = getattr(context, "head", None)  # grpcio's has none
    request_id = call_log.refused(
        refusal.code,
        headers_of(context),
        method="" if head is None else head.path,
        why=type(error).__name__,
        callers_own=(refusal.code if call is None else call.ending) not in BLAMED,
        table="" if call is None else call.table,
        service="" if call is None else call.service,
        reference=refusal.reference,
    )
    await end_refused(context, replace(refusal, request_id=request_id))
