"""Handles requests of all protocols: reads, checks, answers, packs and counts them.

Every `except Exception` here ends one request with an error, so that one caller's failure, or a
defect, does not affect the other requests of the turn.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from cascade_server.cascade.answer import Answer
from cascade_server.cascade.dispatch import Dispatcher
from cascade_server.cascade.gate import Gate
from cascade_server.cascade.repository import Repository
from cascade_server.cascade.request import CheckedRequest, check
from cascade_server.cascade.token_draw import TokenDraw
from cascade_server.config import ServerConfig
from cascade_server.counts.calls import Call
from cascade_server.counts.metering import Answered, Metering
from cascade_server.counts.outside_counts import OutsideCounts
from cascade_server.counts.shared.compute import UsageKey, UsageTier
from cascade_server.counts.shared.live_versions import lot_of
from cascade_server.deadline import Work
from cascade_server.engines.spent import Spent, timed
from cascade_server.errors import Refusal, counted_as, refusal_of
from cascade_server.objectives.blame import BLAMED
from cascade_server.objectives.report import OK
from cascade_server.services.allowance import Allowance
from cascade_server.services.exchange import Exchange
from cascade_server.store.answers import Answers
from cascade_server.telemetry import call_log
from cascade_server.telemetry.call_trace import traced
from cascade_server.telemetry.tracer import Tracer
from cascade_server.terms import Priority, Tier
from cascade_server.wire.enums import OUTSIDE_KINDS
from cascade_server.wire.synthesis_request import Heading

log = logging.getLogger("cascade.server")


class Serving(NamedTuple):
    """The parts that answer requests, once releases are loaded."""

    repository: Repository
    dispatcher: Dispatcher
    answers: Answers

    @property
    def gate(self) -> Gate:
        """The admission control of the dispatcher."""
        return self.dispatcher.gate


class Answering:
    """Answers the exchanges of a turn.

    Args:
        serving: returns the parts that answer; raises `NotReady` while releases are being loaded.
        call: creates the count of a request from its arrival time, in monotonic seconds.
        config: limits the rows of a request, and the rows that are packed in the event loop.
        outside: counts values that the release has never learnt.
        metering: counts the compute of each tenant.
        clock: monotonic seconds.
        tracer: begins traces; None: nothing is traced.
        allowance: limits the rows of tenants; None: access is not configured.
    """

    def __init__(
        self,
        serving: Callable[[], Serving],
        call: Callable[[float], Call],
        config: ServerConfig,
        outside: OutsideCounts,
        metering: Metering,
        clock: Callable[[], float] = time.monotonic,
        tracer: Tracer | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        self._tracer = tracer
        self._serving, self._call, self._config, self._clock = serving, call, config, clock
        self._outside, self._metering = outside, metering
        self._allowance = allowance

    def answer(self, exchanges: Sequence[Exchange], waiting: int = 0) -> int:
        """Answer the exchanges of a turn.

        If one fails, its caller receives the error and the others are not affected.

        Args:
            exchanges: in the order of admission.
            waiting: number of further requests that wait for their turn.

        Returns:
            The number of requests not answered yet: each has a task that has not started.
        """
        answered: list[Answered] = []
        waits: list[Spent] = []
        try:
            return self._answer(exchanges, waiting, answered, waits)
        finally:
            share = self._metering.turn_ends(answered, len(exchanges))
            for spent in waits:
                spent.seconds += share

    def _answer(
        self,
        exchanges: Sequence[Exchange],
        waiting: int,
        answered: list[Answered],
        waits: list[Spent],
    ) -> int:
        """Answer exchanges, as `answer` does.

        Args:
            exchanges, waiting: as for `answer`.
            answered: receives the counts of each answered request.
            waits: receives the account of each request that continues in a task.
        """
        started = 0
        asked: list[Exchange] = []
        requests: list[CheckedRequest] = []
        for exchange in exchanges:
            self._begin(exchange)
            if self._tracer is not None:
                self._begin_trace(exchange, self._tracer)
            try:
                request = self._read(exchange)
            except Exception as exc:
                self.refuse(exchange, exc)
                continue
            if isinstance(request, TokenDraw):
                exchange.caller.wait_for(self._complete_tokens(exchange, request))
                waits.append(request.spent)
                started += 1
            elif request is not None:
                # Wall-clock time, like all work for a request in its turn.
                request.spent.seconds += request.encoded_at - request.began
                asked.append(exchange)
                requests.append(request)
        if not requests:
            return started
        serving = self._serving()
        try:
            found = serving.answers.answer_now(requests)
        except Exception as exc:
            for exchange in asked:
                self.refuse(exchange, exc)
            return started
        began = time.perf_counter()
        for exchange, request, outcome in zip(asked, requests, found, strict=True):
            if outcome is None:
                exchange.caller.wait_for(self._answer_later(exchange, request))
                waits.append(request.spent)
                started += 1
                continue
            if isinstance(outcome, Exception):
                self.refuse(exchange, outcome)
                continue
            try:
                self._send_now(exchange, outcome)
            except Exception as exc:
                self.refuse(exchange, exc)
                continue
            self._sent_rows(exchange, outcome)
            now = time.perf_counter()
            request.spent.seconds += now - began
            began = now
            answered.append(answered_as(exchange, outcome))
            if request.total == 1 and not (outcome.from_pool or outcome.cached):
                seconds = self._clock() - exchange.arrived
                serving.gate.learn_from_turn(seconds, waiting + len(exchanges))
        return started

    def _begin(self, exchange: Exchange) -> None:
        """Start the count of a request under its tenant."""
        identity, call = exchange.identity, self._call(exchange.arrived)
        exchange.call, call.tenant = call, identity.tenant
        if identity.grant.priority is Priority.OFFLINE:
            call.yields()

    @staticmethod
    def _begin_trace(exchange: Exchange, tracer: Tracer) -> None:
        """Start a request's trace, if sampled; the trace's start is the request's arrival."""
        caller = exchange.caller
        trace = tracer.begin(caller.headers, caller.method, exchange.arrived, caller.is_rpc)
        if trace is not None:
            trace.mark("wait")
            exchange.trace = exchange.call.watcher = trace

    @staticmethod
    def _send_now(exchange: Exchange, answer: Answer) -> None:
        """Pack an answer and send it."""
        Answering._drawn(exchange, answer)
        Answering._send_packed(exchange, exchange.message.pack(answer))

    @staticmethod
    def _drawn(exchange: Exchange, answer: Answer) -> None:
        """Record in the trace, if there is one, how the rows were drawn."""
        if (trace := exchange.trace) is not None:
            trace.answered(from_pool=answer.from_pool, cached=answer.cached, steps=answer.steps)

    @staticmethod
    def _send_packed(exchange: Exchange, message: bytes) -> None:
        """Send an answer's message."""
        trace = exchange.trace
        if trace is None:
            exchange.caller.send(message)
            return
        trace.mark("pack")
        exchange.caller.send(message)
        trace.mark("send")

    def refuse(self, exchange: Exchange, error: Exception) -> None:
        """End a request with an error: tell its caller, log it, and count it."""
        self._give_back(exchange)
        refusal = refusal_of(error)
        exchange.call.ends(counted_as(error, refusal.code))
        refusal = self._logged(exchange, refusal, type(error).__name__)
        try:
            exchange.caller.refuse(refusal)
        except Exception:  # the others of its turn are answered all the same
            log.exception("a caller could not be told %s", refusal.code.name)

    def _give_back(self, exchange: Exchange) -> None:
        """Return the held rows of a request that is not answered."""
        if exchange.held is not None and self._allowance is not None:
            self._allowance.had_not(exchange.identity, exchange.held)
            exchange.held = None

    @staticmethod
    def _logged(exchange: Exchange, refusal: Refusal, why: str) -> Refusal:
        """Log a refusal; return it with the request id of its log line, if one was written."""
        call, caller, trace = exchange.call, exchange.caller, exchange.trace
        request_id = call_log.refused(
            refusal.code,
            caller.headers,
            method=caller.method,
            why=why,
            callers_own=call.ending not in BLAMED,
            table=call.table,
            service=call.service,
            trace_id="" if trace is None else trace.trace_id,
            reference=refusal.reference,
        )
        return replace(refusal, request_id=request_id) if request_id else refusal

    @staticmethod
    def _count_as(exchange: Exchange, heading: Heading, deadline: float) -> None:
        """Record the table and class that a request counts for."""
        exchange.call.asks(heading.table, heading.service, deadline, heading.rows, heading.timeout)

    def gave_up(self, exchange: Exchange) -> None:
        """Count a request whose caller hung up before its turn came."""
        self._begin(exchange)
        self._hung_up(exchange)

    def refuse_unread(self, exchange: Exchange, error: Exception) -> None:
        """Refuse a request that may not wait for its turn."""
        self._begin(exchange)
        self._count_as(exchange, exchange.message.heading(), exchange.deadline)
        self.refuse(exchange, error)

    def _hung_up(self, exchange: Exchange) -> None:
        """Count a request whose caller hung up, under the table that its message names."""
        try:
            self._count_as(exchange, exchange.message.heading(), exchange.deadline)
        except Exception as exc:
            exchange.call.ends(refusal_of(exc).code)
        else:
            exchange.call.hung_up()

    def _read(self, exchange: Exchange) -> CheckedRequest | TokenDraw | None:
        """Read and check a request; return None if its caller has hung up."""
        if exchange.caller.gone:
            self._hung_up(exchange)
            return None
        began = time.perf_counter()
        heading, grant = exchange.message.heading(), exchange.identity.grant
        work = Work.from_deadline(exchange.deadline, heading.timeout, self._clock)
        self._count_as(exchange, heading, work.deadline)
        lot = 1.0 if heading.version else lot_of(heading.seed)
        repository = self._serving().repository.restricted_to(grant.tables)
        runtime = repository.find(heading.table, heading.version, lot)
        exchange.call.answers_with(runtime.version)
        work.check()
        allowance = self._allowance
        if allowance is not None:
            allowance.check(exchange.identity)
        request = exchange.message.read(runtime, work)
        if isinstance(request, TokenDraw):
            if allowance is not None:
                exchange.held = allowance.takes(exchange.identity, len(request.tokens), 1)
            return request
        if grant.priority is Priority.OFFLINE:
            request.offline = True
        checked = check(request, runtime, work, self._config.max_rows, began)
        if exchange.trace is not None:
            checked.trace = exchange.trace
            exchange.trace.read(checked.rows, checked.draws, runtime.version)
        if allowance is not None:
            exchange.held = allowance.takes(exchange.identity, checked.total, checked.draws)
        return checked

    def _sent_rows(self, exchange: Exchange, answer: Answer) -> None:
        request = answer.request
        self._sent(exchange, answer.tier, request.total, answer.is_plain)
        if (outside := request.encoded.outside) is not None:
            table = request.runtime.release.manifest.table
            self._outside.add(
                table,
                (
                    (column, OUTSIDE_KINDS[kind], values)
                    for (column, kind), values in outside.totals.items()
                ),
            )

    def _sent(self, exchange: Exchange, tier: Tier, rows: int, is_plain: bool = True) -> None:
        exchange.call.sends(tier, rows, is_plain)
        exchange.call.ends(OK)
        if exchange.held is not None and self._allowance is not None:
            self._allowance.had(exchange.identity, exchange.held)
            exchange.held = None

    async def _answer_later(self, exchange: Exchange, request: CheckedRequest) -> None:
        try:
            if exchange.caller.gone:
                raise asyncio.CancelledError
            if exchange.trace is not None:
                traced.set(exchange.trace)
            answer = await self._serving().answers.answer(request)
            if request.total <= self._config.inline_rows:
                self._drawn(exchange, answer)
                message, seconds = timed(exchange.message.pack, answer)
                self._metering.apart(seconds)
            else:
                self._drawn(exchange, answer)
                message, seconds = await self._packed_elsewhere(exchange, answer)
            request.spent.seconds += seconds
            self._send_packed(exchange, message)
        except asyncio.CancelledError:
            self._give_back(exchange)
            exchange.call.hung_up()
            raise
        except Exception as exc:
            self.refuse(exchange, exc)
        else:
            self._sent_rows(exchange, answer)
            self._metering.add(answered_as(exchange, answer))

    async def _packed_elsewhere(self, exchange: Exchange, answer: Answer) -> tuple[bytes, float]:
        """Pack a large answer in the student's thread; return its message and the seconds taken."""
        return await asyncio.get_running_loop().run_in_executor(
            self._serving().dispatcher.student_thread, timed, exchange.message.pack, answer
        )

    async def _complete_tokens(self, exchange: Exchange, draw: TokenDraw) -> None:
        """Complete tokens with the named network, without routing."""
        try:
            if exchange.caller.gone:
                raise asyncio.CancelledError
            if exchange.trace is not None:
                exchange.trace.mark("read")
                traced.set(exchange.trace)
            answer = await self._serving().dispatcher.complete_tokens(draw)
            if exchange.trace is not None:
                exchange.trace.mark("draw")
            message, seconds = timed(exchange.message.pack, answer)
            self._metering.apart(seconds)
            draw.spent.seconds += seconds
            self._send_packed(exchange, message)
        except asyncio.CancelledError:
            self._give_back(exchange)
            exchange.call.hung_up()
            raise
        except Exception as exc:
            self.refuse(exchange, exc)
        else:
            self._sent(exchange, draw.tier, len(draw.tokens))
            table, tenant = draw.runtime.release.manifest.table, exchange.call.tenant
            key, spent = UsageKey(table, UsageTier(draw.tier), tenant), draw.spent
            rows, tokens = len(draw.tokens), draw.observed.tobytes().count(0)
            self._metering.add(Answered(key, spent.seconds, spent.gpu_seconds, rows, tokens))


def answered_as(exchange: Exchange, answer: Answer) -> Answered:
    """Return the counts of an answer: its tier, table, tenant and compute."""
    request = answer.request
    if answer.cached:
        tier = UsageTier.CACHE
    elif answer.from_pool:
        tier = UsageTier.POOL
    else:
        tier = UsageTier.TEACHER if answer.tier is Tier.TEACHER else UsageTier.STUDENT
    key = UsageKey(request.runtime.release.manifest.table, tier, exchange.call.tenant)
    spent = request.spent
    return Answered(key, spent.seconds, spent.gpu_seconds, request.total, request.drawn_tokens)
