"""gRPC channels to a `FakeServer`, with only the parts that `Client` and `AsyncClient` use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
from cascade_proto import synthesis_pb2 as pb

from cascade_client.errors import Failure
from cascade_client.sessions.messages import StreamedError

if TYPE_CHECKING:
    from cascade_client.testing.server import FakeServer

CANCELLED = "the call was cancelled"


class FakeChannel(grpc.Channel):
    """The parts of `grpc.Channel` that `Client` uses; every call is answered in the caller's
    thread.
    """

    def __init__(self, server: FakeServer) -> None:
        self._server = server

    def unary_unary(self, method: str, *codec: Any, **named: Any) -> Callable[..., Any]:
        """Return a method that answers once."""
        to_bytes, from_bytes = _codec(*codec, **named)

        def call(request: Any, timeout: float | None = None, **_: Any) -> Any:
            body, there = self._server.unary(method, to_bytes(request), timeout)
            self._server.passes(there)
            return from_bytes(body)

        return call

    def unary_stream(self, method: str, *codec: Any, **named: Any) -> Callable[..., Any]:
        """Return a method that answers with a stream, such as `Generate`."""
        to_bytes, _ = _codec(*codec, **named)

        def call(request: Any, timeout: float | None = None, **_: Any) -> BlockingStream:
            return BlockingStream(self._streaming(method, to_bytes(request), timeout))

        return call

    def stream_stream(self, method: str, *codec: Any, **named: Any) -> Callable[..., Any]:
        """Return a method with two streams, as a session uses."""

        def call(messages: Iterable[Any], **_: Any) -> BlockingStream:
            return BlockingStream(self._streamed(messages))

        return call

    def stream_unary(self, method: str, *codec: Any, **named: Any) -> Any:
        """Raise: Cascade has no method of this kind."""
        raise NotImplementedError(method)

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        """Do nothing: there is no connection whose state could change."""

    def unsubscribe(self, callback: Any) -> None:
        """Do nothing, as `subscribe`."""

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def __enter__(self) -> FakeChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _streaming(self, method: str, body: bytes, timeout: float | None) -> Iterator[Any]:
        for response, there in self._server.stream(method, body, timeout):
            self._server.passes(there)
            yield response

    def _streamed(self, messages: Iterable[Any]) -> Iterator[Any]:
        for message in messages:
            answers, there = _answers(self._server, message)
            self._server.passes(there)
            yield answers


class BlockingStream:
    """Answers that come one after another, until the call is cancelled."""

    def __init__(self, answers: Iterator[Any]) -> None:
        self._answers = answers
        self._is_cancelled = False

    def __iter__(self) -> Iterator[Any]:
        for answer in self._answers:
            if self._is_cancelled:
                break
            yield answer
        if self._is_cancelled:
            raise StreamedError(grpc.StatusCode.CANCELLED, CANCELLED)

    def cancel(self) -> None:
        """End the stream; its reader gets an error."""
        self._is_cancelled = True


class AsyncFakeChannel:
    """The parts of `grpc.aio.Channel` that `AsyncClient` uses."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server

    def unary_unary(self, method: str, *codec: Any, **named: Any) -> Callable[..., Any]:
        """Return a method that answers once, to be awaited."""
        to_bytes, from_bytes = _codec(*codec, **named)

        async def call(request: Any, timeout: float | None = None, **_: Any) -> Any:
            body, there = self._server.unary(method, to_bytes(request), timeout)
            # Let calls of other tasks begin before the time that this one takes has passed.
            await asyncio.sleep(0)
            self._server.passes(there)
            return from_bytes(body)

        return call

    def unary_stream(self, method: str, *codec: Any, **named: Any) -> Callable[..., Any]:
        """Return a method that answers with a stream, such as `Generate`."""
        to_bytes, _ = _codec(*codec, **named)

        def call(request: Any, timeout: float | None = None, **_: Any) -> AsyncStream:
            return AsyncStream(self._server, self._streaming(method, to_bytes(request), timeout))

        return call

    def stream_stream(self, method: str, *codec: Any, **named: Any) -> Callable[..., Any]:
        """Return a method with two streams, as a session uses."""

        def call(**_: Any) -> AsyncStream:
            return AsyncStream(self._server, None)

        return call

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""

    async def _streaming(
        self, method: str, body: bytes, timeout: float | None
    ) -> AsyncIterator[Any]:
        for response, there in self._server.stream(method, body, timeout):
            await asyncio.sleep(0)
            self._server.passes(there)
            yield response


class AsyncStream:
    """As `BlockingStream`; in a session, it also answers what is written."""

    def __init__(self, server: FakeServer, answers: AsyncIterator[Any] | None) -> None:
        self._server = server
        self._answers = answers
        self._written: asyncio.Queue[Any] = asyncio.Queue()
        self._is_cancelled = False

    async def write(self, message: Any) -> None:
        """Send requests of a session."""
        self._written.put_nowait(message)

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for answer in self._streamed() if self._answers is None else self._answers:
            if self._is_cancelled:
                break
            yield answer
        if self._is_cancelled:
            raise StreamedError(grpc.StatusCode.CANCELLED, CANCELLED)

    async def _streamed(self) -> AsyncIterator[Any]:
        while not self._is_cancelled:
            message = await self._written.get()
            if message is None:
                return
            answers, there = _answers(self._server, message)
            await asyncio.sleep(0)
            self._server.passes(there)
            yield answers

    def cancel(self) -> None:
        """End the stream; its reader gets an error."""
        self._is_cancelled = True
        self._written.put_nowait(None)


def _codec(
    request_serializer: Any = None, response_deserializer: Any = None, *_: Any, **__: Any
) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    return request_serializer or bytes, response_deserializer or bytes


def _answers(
    server: FakeServer, message: pb.SynthesizeStreamRequest
) -> tuple[pb.SynthesizeStreamResponse, float]:
    """Answer each request of a session's message; also return when the answer is complete."""
    out, latest = pb.SynthesizeStreamResponse(), server.clock()
    for each in message.requests:
        answer = out.answers.add(id=each.id)
        try:
            response, there = server.synthesize(each.request, None)
            answer.response.CopyFrom(response)
            latest = max(latest, there)
        except StreamedError as exc:
            failure = Failure.of(exc)
            answer.failure.code = failure.code.value[0]
            answer.failure.message = failure.details
            if failure.pushback is not None:
                answer.failure.pushback_milliseconds = round(1000 * failure.pushback)
    return out, latest
