"""Calls of the blocking client: channel, turns, retries, cached schemas, resumed streams."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from contextvars import copy_context
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
from cascade_client.calls.thread_lines import ThreadLines
from cascade_client.calls.tls import Tls, checked_tls
from cascade_client.errors import CascadeError, DeadlineExceeded, Overloaded
from cascade_client.messages import wire
from cascade_client.messages.parts import IN_FLIGHT, Part, Parts
from cascade_client.retry import Retry
from cascade_client.tracing import trace_headers
from cascade_client.turns.outcomes import was_turned_away
from cascade_client.turns.threads import ThreadTurns
from cascade_client.values.answers import Synthesis
from cascade_client.values.descriptions import TableDescription

Ask = Callable[[Callable[..., Any], Any, float], Any]


class BlockingCalls(BaseClient):
    """Basis of `Client`'s methods; arguments are `Client`'s."""

    _channel: ThreadLines

    def __init__(
        self,
        target: str,
        timeout: float,
        retry: Retry | None,
        tls: Tls | bool,
        credentials: grpc.ChannelCredentials | None,
        wait_for_turn: bool,
        channel: grpc.Channel | None,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        rng: Callable[[], float],
        showing: Showing,
    ) -> None:
        secured = checked_tls(tls, credentials)
        # With the caller's own channel, it is only a name.
        target = target if channel is not None else checked_target(target, credentials)
        super().__init__(target, timeout, retry, clock, rng, showing)
        self._sleep = sleep
        options = (*CHANNEL_OPTIONS, *(secured.options() if secured else ()))
        # Read here, so that a missing file raises at once.
        if secured is not None and channel is None:
            credentials = secured.credentials()

        def make() -> grpc.Channel:
            if credentials is not None:
                return grpc.secure_channel(target, credentials, options)
            return grpc.insecure_channel(target, options)

        self._channel = ThreadLines(target, make, channel, showing, clock)
        self._stub = SynthesisStub(self._channel)
        self._synthesize: Callable[..., Any] = self._announced
        self._close: Callable[[], None] = self._channel.close
        limits = LEARNT_LIMITS if channel is None else GIVEN_LIMITS
        self._turns = ThreadTurns(limits if wait_for_turn else None, clock, sleep, rng)
        self._beside = ThreadTurns(NO_LIMITS if wait_for_turn else None, clock, sleep, rng)
        self._standing = ThreadTurns(STANDING_LIMITS if wait_for_turn else None, clock, sleep, rng)
        # A session's requests wait for turns of its stream.
        self._synthesize_turns = self._turns

    def close(self) -> None:
        """Close the connection and cancel the calls in flight. Closing twice does no harm."""
        self._closed = True
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, method: Callable[..., Any], request: Any, expiry: float) -> Any:
        """Make a call when it is its turn, and retry as `retry` allows."""
        return self._send(self._turns, method, request, expiry, "")

    def _call_beside(self, method: Callable[..., Any], request: Any, expiry: float) -> Any:
        """Make a call while a stream of the same caller, which waits for the answer, holds
        a turn.
        """
        return self._send(self._beside, method, request, min(expiry, self._expiry(None)), "")

    def _send(
        self, turns: ThreadTurns, method: Callable[..., Any], request: Any, expiry: float, kind: str
    ) -> Any:
        attempt = 0
        while True:
            attempt += 1
            try:
                return turns.send(partial(self._once, method, request, expiry), expiry, kind)
            except grpc.RpcError as exc:
                delay = self._wait_or_raise(exc, attempt, expiry, turns.tries_again(kind))
            self._sleep(delay)

    def _once(self, method: Callable[..., Any], request: Any, expiry: float) -> Any:
        made = request() if callable(request) else request
        left = self._left(expiry)
        if method is not self._synthesize and (headers := trace_headers()):
            return method(made, timeout=left, metadata=headers)
        return method(made, timeout=left)

    def _in_parts(self, parts: Parts, expiry: float, fidelity: str) -> Synthesis[Any]:
        """Request all parts, some at a time, and merge them; a failed part ends them all.

        No thread outlives the call: after a failure no other part is begun, and parts in flight end
        with their answers, or by the deadline.
        """
        self._synthesize_turns.check(expiry, IN_PARTS)
        share = fidelity == "auto" and not math.isinf(expiry)
        try:
            answers = self._ahead(parts, expiry, share)
        except CascadeError as exc:
            raise parts.explained(exc, parts.ahead) from exc.__cause__
        parts.schema = self._schema_of(answers[0].provenance, parts.schema, None, expiry)
        parts.pin(answers)
        ended = threading.Event()

        def ask(part: Part) -> list[pb.SynthesizeResponse]:
            if ended.is_set():
                return []
            return self._part(parts, part, expiry, self._left(expiry))

        with ThreadPoolExecutor(IN_FLIGHT, "cascade-parts") as threads:
            # Each in a copy of the caller's context, which has its trace.
            asked = {threads.submit(copy_context().run, ask, part): part for part in parts.rest}
            try:
                for done in as_completed(asked):
                    try:
                        found = done.result()
                    except CascadeError as exc:
                        raise parts.explained(exc, asked[done]) from exc.__cause__
                    parts.add(asked.pop(done), found)
            finally:
                ended.set()
                threads.shutdown(wait=False, cancel_futures=True)
        return parts.synthesis()

    def _ahead(self, parts: Parts, expiry: float, share: bool) -> list[pb.SynthesizeResponse]:
        """Return the answers of the first part.

        Args:
            share: whether it must be answered within its share of the time, so that all parts use a
                tier that can keep this pace; if none can, the student is used.
        """
        left = self._left(expiry)
        if share and left is not None:
            try:
                return self._part(parts, parts.ahead, expiry, left * parts.first_share)
            except DeadlineExceeded:
                parts.choose("fast")
        return self._part(parts, parts.ahead, expiry, self._left(expiry))

    def _part(
        self, parts: Parts, part: Part, expiry: float, timeout: float | None
    ) -> list[pb.SynthesizeResponse]:
        turns, method = self._synthesize_turns, self._synthesize
        answers = []
        for request in parts.requests(part, timeout):
            while True:
                done = parts.done
                try:
                    answers.append(self._send(turns, method, request, expiry, IN_PARTS))
                    break
                except Overloaded as exc:
                    delay = parts.delay(exc, done, self.retry)
                self._sleep(delay)
        return answers

    def _announced(self, request: pb.SynthesizeRequest, timeout: float) -> Any:
        announced = wire.announcement(request) + trace_headers()
        return self._stub.Synthesize(request, timeout=timeout, metadata=announced)

    def _generated(
        self,
        table: str,
        n: int,
        expiry: float,
        given: Mapping[str, Any] | None,
        columns: Sequence[str] | None,
        seed: int | None,
        version: int | None,
    ) -> Iterator[tuple[pb.GenerateResponse, TableDescription]]:
        """Yield the messages of a stream, which is resumed if it breaks, and the schema of their
        rows.
        """
        schema = self._schema(table, version, expiry)
        request = wire.generate_request(
            schema, n, given=given, columns=columns, seed=seed, version=version
        )
        rows = Resumption(request, self.retry)

        def begin(left: float | None) -> Any:
            return self._stub.Generate(rows.request(), timeout=left, metadata=trace_headers())

        with closing(self._resumed(rows, begin, expiry, self._turns)) as messages:
            for response in messages:
                first = not rows.done
                try:
                    if not rows.takes(response):
                        continue
                    if first:
                        made = response.provenance
                        schema = self._schema_of(made, schema, version, expiry, self._call_beside)
                except CascadeError as exc:
                    rows.explain(exc)
                    raise
                yield response, schema

    def _resumed(
        self,
        stream: Attempts,
        begin: Callable[[float | None], Any],
        expiry: float,
        turns: ThreadTurns,
    ) -> Generator[Any, None, None]:
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
                with turns.holding(expiry):
                    call = begin(self._left(expiry))
                    try:
                        yield from call
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
                    self._sleep(RECONNECT)
                continue
            failure = stream.why(ended)
            if failure is None:
                return
            self._sleep(self._resume_or_raise(stream, failure, ended, expiry))

    def _describe(
        self, table: str, version: int | None, expiry: float, call: Ask | None = None
    ) -> TableDescription:
        request = wire.describe_request(table, version)
        response = (call or self._call)(self._stub.DescribeTable, request, expiry)
        return self._remember(wire.description(response, version), version)

    def _schema(
        self, table: str, version: int | None, expiry: float, call: Ask | None = None
    ) -> TableDescription:
        return self._recall(table, version) or self._describe(table, version, expiry, call)

    def _schema_of(
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
        newer = self._schema(made.table, made.version, expiry, call)
        return self._remember(newer, version)
