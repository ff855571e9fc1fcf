"""The life of a request: read, checked, answered, packed, counted. All edges go this way."""

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
    """What answers, once it is loaded."""

    repository: Repository
    dispatcher: Dispatcher
    answers: Answers

    @property
    def gate(self) -> Gate:
        """Says who may enter."""
        return self.dispatcher.gate


class Answering:
    """Answers exchanges, some at a time.

    Args:
        serving: what answers; raises `NotReady` while releases are being loaded.
        call: begins to count what came at a moment, on the monotonic clock.
        config: how many rows a request may ask for, and how many are packed in the event loop.
        outside: counts values that were never learnt.
        metering: counts what was computed, and for whom.
        clock: monotonic seconds.
        tracer: begins traces; None: nothing is traced.
        allowance: how many rows callers may have; None: access is not configured.
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
        """Answer exchanges that came together; what goes wrong with one is told to its caller and
        changes nothing for the others.

        Args:
            exchanges: in the order in which they are let in.
            waiting: how many more wait for their turn.

        Returns:
            How many have to wait for their answer, each in a task that has yet to begin.
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
        """As `answer`.

        Args:
            answered: is told what was answered, to be counted.
            waits: is told what those have spent that have to wait.
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
                # By the wall's clock, as what is done for it in this turn.
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
        """Begin to count one, in the name of who asks."""
        asks, call = exchange.asks, self._call(exchange.arrived)
        exchange.call, call.tenant = call, asks.tenant
        if asks.grant.priority is Priority.OFFLINE:
            call.yields()

    @staticmethod
    def _begin_trace(exchange: Exchange, tracer: Tracer) -> None:
        """A request's turn has come: it is traced from its arrival on, if it is."""
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
        """Its rows are there."""
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
        """Tell a caller what is wrong, and count that."""
        self._give_back(exchange)
        refusal = refusal_of(error)
        exchange.call.ends(counted_as(error, refusal.code))
        refusal = self._logged(exchange, refusal, type(error).__name__)
        try:
            exchange.caller.refuse(refusal)
        except Exception:
            log.exception("a caller could not be told %s", refusal.code.name)

    def _give_back(self, exchange: Exchange) -> None:
        """Nothing of an answer was sent: its caller is not charged for it."""
        if exchange.held is not None and self._allowance is not None:
            self._allowance.had_not(exchange.asks, exchange.held)
            exchange.held = None

    @staticmethod
    def _logged(exchange: Exchange, refusal: Refusal, why: str) -> Refusal:
        """The same refusal, with the request's id in the log."""
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

    def _asks(self, exchange: Exchange, heading: Heading, deadline: float) -> None:
        """Say what a request counts as."""
        exchange.call.asks(heading.table, heading.service, deadline, heading.rows, heading.timeout)

    def gave_up(self, exchange: Exchange) -> None:
        """Count one whose caller has gone before its turn came."""
        self._begin(exchange)
        self._hung_up(exchange)

    def refuse_unread(self, exchange: Exchange, error: Exception) -> None:
        """Tell a caller that his request may not wait for its turn, and count that."""
        self._begin(exchange)
        self._asks(exchange, exchange.message.heading(), exchange.deadline)
        self.refuse(exchange, error)

    def _hung_up(self, exchange: Exchange) -> None:
        try:
            self._asks(exchange, exchange.message.heading(), exchange.deadline)
        except Exception as exc:
            exchange.call.ends(refusal_of(exc).code)
        else:
            exchange.call.hung_up()

    def _read(self, exchange: Exchange) -> CheckedRequest | TokenDraw | None:
        """What is asked; None: nobody waits for it any more."""
        if exchange.caller.gone:
            self._hung_up(exchange)
            return None
        began = time.perf_counter()
        heading, grant = exchange.message.heading(), exchange.asks.grant
        work = Work.from_deadline(exchange.deadline, heading.timeout, self._clock)
        self._asks(exchange, heading, work.deadline)
        lot = 1.0 if heading.version else lot_of(heading.seed)
        repository = self._serving().repository.restricted_to(grant.tables)
        runtime = repository.find(heading.table, heading.version, lot)
        exchange.call.answers_with(runtime.version)
        # What comes too late is not read.
        work.check()
        allowance = self._allowance
        if allowance is not None:
            allowance.check(exchange.asks)
        request = exchange.message.read(runtime, work)
        if isinstance(request, TokenDraw):
            if allowance is not None:
                exchange.held = allowance.takes(exchange.asks, len(request.tokens), 1)
            return request
        if grant.priority is Priority.OFFLINE:
            request.offline = True
        checked = check(request, runtime, work, self._config.max_rows, began)
        if exchange.trace is not None:
            checked.trace = exchange.trace
            exchange.trace.read(checked.rows, checked.draws, runtime.version)
        if allowance is not None:
            exchange.held = allowance.takes(exchange.asks, checked.total, checked.draws)
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
            self._allowance.had(exchange.asks, exchange.held)
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
        """Pack a large answer out of the event loop's way; and the seconds that it took."""
        return await asyncio.get_running_loop().run_in_executor(
            self._serving().dispatcher.student_thread, timed, exchange.message.pack, answer
        )

    async def _complete_tokens(self, exchange: Exchange, draw: TokenDraw) -> None:
        """Have one network complete tokens, with no cascade in between."""
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
    """What an answer is to be counted as."""
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
