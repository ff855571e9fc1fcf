"""Recorders: traces of what callers ask for while they do, from the SDK or any gRPC channel.

>>> with TraceRecorder(Path("calls.jsonl")) as recorder:
...     channel = recorder.channel(grpc.insecure_channel("127.0.0.1:8470"))
...     client = Client(channel=channel)
...     ...                                   # the service, as ever

What is written is when, of which table, and which columns were given; their values only with
`values=True`, since they are about people. A line is there as soon as its call is made, so that a
recording that is cut off has all calls until then.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import grpc
from cascade_proto import synthesis_pb2 as pb
from cascade_proto.cells import NULL_STATE, OBSERVED_STATE

from cascade_loadtest.errors import TraceError
from cascade_loadtest.requests import SYNTHESIZE
from cascade_loadtest.schedule.traces import TracedCall


class TraceRecorder:
    """Writes a trace, a line a call, from any thread.

    Args:
        path: of the trace, `.jsonl`; it is written anew.
        values: whether the values of what was given are written; else only the columns' names.
        clock: monotonic seconds.

    Raises:
        TraceError: the path does not end in `.jsonl`: Parquet cannot be written line by line
            (`read_trace` and `write_trace` convert).
    """

    def __init__(
        self, path: Path, *, values: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if path.suffix != ".jsonl":
            raise TraceError(f"{path} cannot be recorded to; allowed: a name ending in .jsonl")
        self._values, self._clock, self._lock = values, clock, threading.Lock()
        self._file = path.open("w", encoding="utf-8", buffering=1)
        self._began: float | None = None

    def note(self, request: pb.SynthesizeRequest, timeout: float | None) -> None:
        """A call is made; of a request of several rows, each is a call."""
        with self._lock:
            now = self._clock()
            self._began = now if self._began is None else self._began
            for row in range(request.rows.count):
                given = given_values(request.rows, row)
                call = TracedCall(
                    now - self._began,
                    request.table,
                    given if self._values else list(given),
                    request.draws or 1,
                    timeout,
                )
                self._file.write(json.dumps(call.as_json()) + "\n")

    def channel(self, channel: grpc.Channel) -> grpc.Channel:
        """A channel whose calls of `Synthesize` are recorded, for `Client(channel=...)`."""
        return grpc.intercept_channel(channel, _Intercepting(self))

    def interceptor(self) -> grpc.aio.ClientInterceptor:
        """The same for asyncio: `grpc.aio.insecure_channel(target, interceptors=[...])`, and that
        for `AsyncClient(channel=...)`."""
        return _AioIntercepting(self)

    def _saw(self, details: Any, request: Any) -> None:
        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        if method == SYNTHESIZE and isinstance(request, pb.SynthesizeRequest):
            self.note(request, details.timeout)

    def close(self) -> None:
        """Close the file of the recording."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def given_values(rows: pb.Rows, row: int) -> dict[str, Any]:
    """What is observed in a row of a message; NULL is None."""
    found: dict[str, Any] = {}
    for column in rows.columns:
        state = column.states[row] if row < len(column.states) else OBSERVED_STATE
        field = column.WhichOneof("values")
        if state == OBSERVED_STATE and field is not None:
            values = getattr(column, field).values
            if row < len(values):
                found[column.name] = values[row]
        elif state == NULL_STATE:
            found[column.name] = None
    return found


class _Intercepting(grpc.UnaryUnaryClientInterceptor):
    """Tells a recorder of each call before it is sent."""

    def __init__(self, recorder: TraceRecorder) -> None:
        self._recorder = recorder

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        self._recorder._saw(details, request)
        return continuation(details, request)


class _AioIntercepting(grpc.aio.UnaryUnaryClientInterceptor):
    """The same, with asyncio."""

    def __init__(self, recorder: TraceRecorder) -> None:
        self._recorder = recorder

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        self._recorder._saw(details, request)
        return await continuation(details, request)
