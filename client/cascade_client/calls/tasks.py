"""Calls of the asyncio client; the counterpart of `threads`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Any, Self

import grpc
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.synthesis_pb2_grpc import SynthesisStub

from cascade_client.calls.base import (
    CHANNEL_OPTIONS,
    GIVEN_LIMITS,
    IN_PARTS,
    LEARNT_LIMITS,
    NO_LIMITS,
    BaseClient,
    checked_target,
)
from cascade_client.calls.job_streams import RECONNECT, STANDING_LIMITS
from cascade_client.calls.resuming import Attempts, Resumption
from cascade_client.calls.showing import Showing
from cascade_client.calls.task_lines import TaskLines
from cascade_client.calls.tls import Tls, checked_tls
from cascade_client.errors import CascadeError, DeadlineExceeded, Overloaded
from cascade_client.messages import wire
from cascade_client.messages.parts import IN_FLIGHT, Part, Parts
from cascade_client.retry import Retry
from cascade_client.tracing import trace_headers
from cascade_client.turns.outcomes import was_turned_away
from cascade_client.turns.shared import Shared
from cascade_client.turns.tasks import TaskTurns
from cascade_client.values.answers import Synthesis
from cascade_client.values.descriptions import TableDescription

Ask = Callable[[Callable[..., Any], Any, float], Awaitable[Any]]


class AsyncCalls(BaseClient):
    """Basis of `AsyncClient`'s methods; arguments are `AsyncClient`'s."""

    _channel: TaskLines

    def __init__(
        self,
        target: str,
        timeout: float,
        retry: Retry | None,
        tls: Tls | bool,
        credentials: grpc.ChannelCredentials | None,
        wait_for_turn: bool,
        channel: grpc.aio.Channel | None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
        rng: Callable[[], float],
        showing: Showing,
    ) -> None:
        secured = checked_tls(tls, credentials)
        # With the caller's own channel, it is only a name.
        target = target if channel is not None else checked_target(target, credentials)
        super().__init__(target, timeout, retry, clock, rng, showing)
        self._sleep = sleep
        options = (*CHANNEL_OPTIONS, *(secured.options() if secured else ()))
        # Compare the given settings: credentials built from them differ each time.
        key = (target, secured or credentials, showing.key)
        # Read here, so that a missing file raises at once.
        if secured is not None and channel is None:
            credentials = secured.credentials()

        def make() -> grpc.aio.Channel:
            if credentials is not None:
                return grpc.aio.secure_channel(target, credentials, options)
            return grpc.aio.insecure_channel(target, options)

        self._channel = TaskLines(target, make, channel, showing, clock)
        self._stub = SynthesisStub(self._channel)
        self._synthesize: Callable[..., Awaitable[Any]] = _announced(self._stub.Synthesize)
        self._close: Callable[[], Awaitable[object]] = self._channel.close
        limits = LEARNT_LIMITS if channel is None else GIVEN_LIMITS
        # A channel from the caller may be shared with others; and a client that does not wait
        # shares no queue.
        shares = wait_for_turn and channel is None
        self._shared = Shared(key, clock, sleep, rng) if shares else None
        self._turns = TaskTurns(limits if wait_for_turn else None, clock, sleep, rng, self._shared)
        self._beside = TaskTurns(NO_LIMITS if wait_for_turn else None, clock, sleep, rng)
        self._standing = TaskTurns(STANDING_LIMITS if wait_for_turn else None, clock, sleep, rng)
        # A session's requests wait for turns of its stream.
        self._synthesize_turns = self._turns

    async def close(self) -> None:
        """Close the connection and cancel the calls in flight. Closing twice does no harm."""
        self._closed = True
        if self._shared is not None:
            self._shared.leave(self._turns)
        await self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _call(self, method: Callable[..., Any], request: Any, expiry: float) -> Any:
        """Make a call when it is its turn, and retry as `retry` allows."""
        return await self._send(self._turns, method, request, expiry, "")

    async def _call_beside(self, method: Callable[..., Any], request: Any, expiry: float) -> Any:
        """Make a call while a stream of the same caller, which waits for the answer, holds
        a turn.
        """
        return await self._send(self._beside, method, request, min(expiry, self._expiry(None)), "")

    async def _send(
        self, turns: TaskTurns, method: Callable[..., Any], request: Any, expiry: float, kind: str
    ) -> Any:
        attempt = 0
        while True:
            attempt += 1
            try:
                return await turns.send(partial(self._once, method, request, expiry), expiry, kind)
            except grpc.RpcError as exc:
                delay = self._wait_or_raise(exc, attempt, expiry, turns.tries_again(kind))
            await self._sleep(delay)

    async def _once(self, method: Callable[..., Any], request: Any, expiry: float) -> Any:
        made = request() if callable(request) else request
        left = self._left(expiry)
        if method is not self._synthesize and (headers := trace_headers()):
            return await method(made, timeout=left, metadata=headers)
        return await method(made, timeout=left)

    async def _in_parts(self, parts: Parts, expiry: float, fidelity: str) -> Synthesis[Any]:
        """Request all parts, some at a time, and merge them; a failed part ends them all.

        A thread reads and merges parts, to keep this work out of the event loop.
        """
        self._synthesize_turns.check(expiry, IN_PARTS)
        share = fidelity == "auto" and not math.isinf(expiry)
        try:
            answers = await self._ahead(parts, expiry, share)
        except CascadeError as exc:
            raise parts.explained(exc, parts.ahead) from exc.__cause__
        parts.schema = await self._schema_of(answers[0].provenance, parts.schema, None, expiry)
        parts.pin(answers)
        rest = iter(parts.rest)

        async def ask() -> None:
            for part in rest:
                try:
                    found = await self._part(parts, part, expiry, self._left(expiry))
                except CascadeError as exc:
                    raise parts.explained(exc, part) from exc.__cause__
                parts.add(part, found)

        asking = [asyncio.ensure_future(ask()) for _ in range(IN_FLIGHT)]
        try:
            await asyncio.gather(*asking)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        return await asyncio.to_thread(parts.synthesis)

    async def _ahead(self, parts: Parts, expiry: float, share: bool) -> list[pb.SynthesizeResponse]:
        """Return the answers of the first part; see `BlockingCalls`."""
        left = self._left(expiry)
        if share and left is not None:
            try:
                return await self._part(parts, parts.ahead, expiry, left * parts.first_share)
            except DeadlineExceeded:
                parts.choose("fast")
        return await self._part(parts, parts.ahead, expiry, self._left(expiry))

    async def _part(
        self, parts: Parts, part: Part, expiry: float, timeout: float | None
    ) -> list[pb.SynthesizeResponse]:
        turns, method = self._synthesize_turns, self._synthesize
        requests = await asyncio.to_thread(lambda: list(parts.requests(part, timeout)))
        answers = []
        for request in requests:
            while True:
                done = parts.done
                try:
                    answers.append(await self._send(turns, method, request, expiry, IN_PARTS))
                    break
                except Overloaded as exc:
                    delay = parts.delay(exc, done, self.retry)
                await self._sleep(delay)
        return answers

    async def _generated(
        self,
        table: str,
        n: int,
        expiry: float,
        given: Mapping[str, Any] | None,
        columns: Sequence[str] | None,
        seed: int | None,
        version: int | None,
    ) -> AsyncGenerator[tuple[pb.GenerateResponse, TableDescription], None]:
        """Yield the messages of a stream, which is resumed if it breaks, and the schema of their
        rows.
        """
        schema = await self._schema(table, version, expiry)
        request = wire.generate_request(
            schema, n, given=given, columns=columns, seed=seed, version=version
        )
        rows = Resumption(request, self.retry)

        def begin(left: float | None) -> Any:
            return self._stub.Generate(rows.request(), timeout=left, metadata=trace_headers())

        async with aclosing(self._resumed(rows, begin, expiry, self._turns)) as messages:
            async for response in messages:
                first = not rows.done
                try:
                    if not rows.takes(response):
                        continue
                    if first:
                        made = response.provenance
                        schema = await self._schema_of(
                            made, schema, version, expiry, self._call_beside
                        )
                except CascadeError as exc:
                    rows.explain(exc)
                    raise
                yield response, schema

    async def _resumed(
        self,
        stream: Attempts,
        begin: Callable[[float | None], Any],
        expiry: float,
        turns: TaskTurns,
    ) -> AsyncGenerator[Any, None]:
        """Yield the messages of a stream that is reopened if it ends before it is complete.

        Args:
            stream: tracks what was received; the consumer of the messages updates it.
            begin: requests the missing part, with the given number of seconds; None: no limit.
            expiry: the caller's deadline.
            turns: gives the stream a turn while it is open.
        """
        while not stream.complete:
            ended: grpc.RpcError | None = None
            try:
                async with turns.holding(expiry):
                    call = begin(self._left(expiry))
                    try:
                        async for message in call:
                            yield message
                    except grpc.RpcError as exc:
                        ended = exc
                        if not stream.stands:
                            raise
                    finally:
                        call.cancel()
            except grpc.RpcError as exc:
                ended = exc
            except CascadeError as exc:
                stream.explain(exc)
                raise
            if stream.complete:
                return
            if ended is not None and turns.waits and was_turned_away(ended):
                stream.waited()
                if stream.stands:
                    # Other streams stay open for long, and the end of their turns cannot be
                    # predicted.
                    await self._sleep(RECONNECT)
                continue
            failure = stream.why(ended)
            if failure is None:
                return
            await self._sleep(self._resume_or_raise(stream, failure, ended, expiry))

    async def _describe(
        self, table: str, version: int | None, expiry: float, call: Ask | None = None
    ) -> TableDescription:
        request = wire.describe_request(table, version)
        response = await (call or self._call)(self._stub.DescribeTable, request, expiry)
        return self._remember(wire.description(response, version), version)

    async def _schema(
        self, table: str, version: int | None, expiry: float, call: Ask | None = None
    ) -> TableDescription:
        return self._recall(table, version) or await self._describe(table, version, expiry, call)

    async def _schema_of(
        self,
        made: pb.Provenance,
        schema: TableDescription,
        version: int | None,
        expiry: float,
        call: Ask | None = None,
    ) -> TableDescription:
        """Return the schema of the release that answered, which may be newer than the
        cached one.
        """
        if made.version in (0, schema.version):
            return schema
        newer = await self._schema(made.table, made.version, expiry, call)
        return self._remember(newer, version)


def _announced(synthesize: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Wrap the method to send headers that say whose error budget a refusal would spend."""

    def announced(request: pb.SynthesizeRequest, timeout: float) -> Awaitable[Any]:
        announcement = wire.announcement(request) + trace_headers()
        return synthesize(request, timeout=timeout, metadata=announcement)

    return announced
