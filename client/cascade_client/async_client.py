"""The asyncio client: the same methods as `Client`, built on the same `wire` and `retry`."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

import grpc

from cascade_client.calls.base import (
    DEFAULT_TARGET,
    STREAM_LIMITS,
    GenerateOptions,
    SynthesizeKeywords,
    SynthesizeOptions,
)
from cascade_client.calls.showing import Showing
from cascade_client.calls.tls import Tls
from cascade_client.client import Row
from cascade_client.errors import InvalidRequest
from cascade_client.job_methods import AsyncJobMethods
from cascade_client.messages import wire
from cascade_client.messages.cells import Nulls
from cascade_client.messages.frames import Frame
from cascade_client.messages.given import hold, read
from cascade_client.messages.parts import PART_ROWS, Parts, fits
from cascade_client.progress import Progress, checked_progress
from cascade_client.retry import Retry
from cascade_client.sessions.tasks import AsyncStandingStream
from cascade_client.turns.tasks import TaskTurns
from cascade_client.values.answers import Chunk, Synthesis

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class AsyncClient(AsyncJobMethods):
    """A connection to a Cascade server for asyncio; share one among tasks, and close it.

    >>> async with AsyncClient() as client:
    ...     answer = await client.synthesize("credit", {"limit_bal": 20000, "age": 25})

    Arguments and errors are `Client`'s; `sleep` is awaited, and `channel` is a
    `grpc.aio.Channel`. The connection belongs to the event loop of the first call. Cancelling a
    task cancels its call on the server too.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: float = 1.0,
        retry: Retry | None = None,
        tls: Tls | bool = False,
        credentials: grpc.ChannelCredentials | None = None,
        wait_for_turn: bool = True,
        channel: grpc.aio.Channel | None = None,
        api_key: str | None = None,
        token: str | Callable[[], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        rng: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(
            target,
            timeout,
            retry,
            tls,
            credentials,
            wait_for_turn,
            channel,
            clock,
            sleep,
            rng,
            Showing(api_key, token),
        )

    # One draw of one dict is a dict. mypy objects because 1 is also an int.
    @overload
    async def synthesize(  # type: ignore[overload-overlap]
        self,
        table: str,
        data: Mapping[str, Any],
        *,
        draws: Literal[1] = 1,
        **options: Unpack[SynthesizeKeywords],
    ) -> Synthesis[Row]: ...
    @overload
    async def synthesize(
        self,
        table: str,
        data: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        draws: int = 1,
        **options: Unpack[SynthesizeKeywords],
    ) -> Synthesis[list[Row]]: ...
    @overload
    async def synthesize(
        self,
        table: str,
        data: pd.DataFrame,
        *,
        draws: int = 1,
        **options: Unpack[SynthesizeKeywords],
    ) -> Synthesis[pd.DataFrame]: ...
    @overload
    async def synthesize(
        self, table: str, data: Frame, *, draws: int = 1, **options: Unpack[SynthesizeKeywords]
    ) -> Synthesis[Frame]: ...
    async def synthesize(
        self,
        table: str,
        data: Any,
        *,
        draws: int = 1,
        columns: Sequence[str] | None = None,
        seed: int | None = None,
        fidelity: wire.Fidelity = "auto",
        log_likelihood: bool = False,
        explain: bool = False,
        strict: bool = False,
        version: int | None = None,
        nulls: Nulls = "observed",
        timeout: float | None = None,
        progress: Progress | bool | None = None,
    ) -> Synthesis[Any]:
        """Complete rows; see `Client.synthesize`."""
        expiry = self._expiry(timeout)
        kind = "full" if log_likelihood else fidelity
        turns = self._synthesize_turns
        draws, report = wire.checked_draws(draws), checked_progress(progress, table)
        held = hold(data)
        is_one_row = held is None or held.count == 1
        # Several rows may go in parts, which use another method and may have another deadline.
        if is_one_row:
            turns.check(expiry, kind)
        elif held is not None:
            expiry = self._expiry_of_rows(expiry, timeout, held.count * draws)
        # Refuse an unreadable frame before anything is sent.
        given = read(held or data) if held is None or held.count <= PART_ROWS else None
        schema = await self._schema(table, version, expiry)
        options: SynthesizeOptions = {
            "columns": columns,
            "seed": seed,
            "fidelity": fidelity,
            "log_likelihood": log_likelihood,
            "explain": explain,
            "strict": strict,
            "version": version,
            "nulls": nulls,
        }
        if held is None or fits(held.count, draws, schema):
            given = read(held or data) if given is None else given

            def request() -> Any:
                left = self._left(expiry)
                return wire.synthesize_request(schema, given, draws=draws, timeout=left, **options)

            # Pack a row only when its turn has come: under overload, most rows never get a turn.
            asked: Any = request if held is None else request()
            if is_one_row or asked.ByteSize() <= schema.max_message_bytes:
                if not is_one_row:
                    turns.check(expiry, kind)
                try:
                    response = await self._send(turns, self._synthesize, asked, expiry, kind)
                except InvalidRequest as exc:
                    if held is not None:
                        held.explained(exc, 0, held.count)
                    raise
                schema = await self._schema_of(response.provenance, schema, version, expiry)
                if report is not None:
                    report(given.count, given.count)
                return wire.synthesis(response, schema, given, draws)
        assert held is not None
        parts = Parts(held, schema, draws, report, options)
        return await self._in_parts(parts, math.inf if timeout is None else expiry, fidelity)

    @overload
    async def generate(
        self,
        table: str,
        n: int,
        *,
        kind: Literal["pandas"] = "pandas",
        progress: Progress | bool | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Synthesis[pd.DataFrame]: ...
    @overload
    async def generate(
        self,
        table: str,
        n: int,
        *,
        kind: Literal["rows"],
        progress: Progress | bool | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Synthesis[list[Row]]: ...
    @overload
    async def generate(
        self,
        table: str,
        n: int,
        *,
        kind: Literal["arrow"],
        progress: Progress | bool | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Synthesis[pa.Table]: ...
    @overload
    async def generate(
        self,
        table: str,
        n: int,
        *,
        kind: Literal["polars"],
        progress: Progress | bool | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Synthesis[Any]: ...
    async def generate(
        self,
        table: str,
        n: int,
        *,
        given: Mapping[str, Any] | None = None,
        columns: Sequence[str] | None = None,
        seed: int | None = None,
        version: int | None = None,
        kind: wire.Kind = "pandas",
        timeout: float | None = None,
        progress: Progress | bool | None = None,
    ) -> Synthesis[Any]:
        """Make n rows with the teacher and collect them; see `Client.generate`."""
        collection = wire.Collection(wire.form_of(kind), checked_progress(progress, table))
        expiry = self._open_expiry(timeout)
        messages = self._generated(table, n, expiry, given, columns, seed, version)
        async for response, schema in messages:
            collection.add(response, schema)
        return collection.synthesis()

    @overload
    def stream(
        self,
        table: str,
        n: int,
        *,
        kind: Literal["pandas"] = "pandas",
        **options: Unpack[GenerateOptions],
    ) -> AsyncIterator[Chunk[pd.DataFrame]]: ...
    @overload
    def stream(
        self, table: str, n: int, *, kind: Literal["rows"], **options: Unpack[GenerateOptions]
    ) -> AsyncIterator[Chunk[list[Row]]]: ...
    @overload
    def stream(
        self, table: str, n: int, *, kind: Literal["arrow"], **options: Unpack[GenerateOptions]
    ) -> AsyncIterator[Chunk[pa.Table]]: ...
    @overload
    def stream(
        self, table: str, n: int, *, kind: Literal["polars"], **options: Unpack[GenerateOptions]
    ) -> AsyncIterator[Chunk[Any]]: ...
    async def stream(
        self,
        table: str,
        n: int,
        *,
        given: Mapping[str, Any] | None = None,
        columns: Sequence[str] | None = None,
        seed: int | None = None,
        version: int | None = None,
        kind: wire.Kind = "pandas",
        timeout: float | None = None,
    ) -> AsyncIterator[Chunk[Any]]:
        """Make n rows with the teacher and yield them as they arrive; see `Client.stream`.

        To cancel the rest at once when leaving the loop early, put the iterator in
        `contextlib.aclosing`.
        """
        form = wire.form_of(kind)
        expiry = self._open_expiry(timeout)
        messages = self._generated(table, n, expiry, given, columns, seed, version)
        try:
            async for response, schema in messages:
                yield wire.chunk(response, schema, form)
        finally:
            await messages.aclose()

    def session(self) -> Self:
        """Return a client whose `synthesize` uses one standing stream; see `Client.session`.

        Call it in the event loop.
        """
        self._check_open()
        stream = AsyncStandingStream(self._stub.SynthesizeStream, self._clock)
        session = copy(self)
        session._synthesize, session._close = stream, stream.close
        session._shared = None
        limits = STREAM_LIMITS if self._turns.waits else None
        session._synthesize_turns = TaskTurns(limits, self._clock, self._sleep, self._rng)
        return session
